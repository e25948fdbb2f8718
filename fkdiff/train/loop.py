"""The host loop: everything that is not mathematics. Progress, metrics, checkpoints, signals, resume."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Key, require
from fkdiff.core.keys import Use, seed_key, stream
from fkdiff.core.progress import progress
from fkdiff.train import checkpoint, run
from fkdiff.train.baselines import text_baselines
from fkdiff.train.build import Form, build_model
from fkdiff.train.config import TrainConfig
from fkdiff.train.data import Batches, Dataset, data_facts, held_out, load_data, resolve
from fkdiff.train.data.dataset import shuffled
from fkdiff.train.files import check_name, exclusive, metric_rows
from fkdiff.train.step import STOP_AFTER, TrainState, init_state, make_evaluation, make_optimizer, make_step

LARGEST_HELD_OUT = 2048  # examples that a validation loss is measured on


class TrainResult(NamedTuple):
    """How a run ended.

    Attributes:
        folder: The run folder.
        step: Steps taken.
        loss: Mean training loss since the last look.
        held_out: Loss of the averaged parameters on data that training never saw.
        stopped: The signal that stopped the run early, or None.
        baselines: What simpler models score on the same held-out text, by name; {} where data are not text.
    """

    folder: Path
    step: int
    loss: float
    held_out: float
    stopped: int | None
    baselines: dict[str, float]


def train(
    config: TrainConfig,
    out: str | Path,
    resume: bool = False,
    picture: bool = True,
    data_root: str | Path = ".",
    tell: Callable[[str], None] | None = None,
) -> TrainResult:
    """Trains a model from a config into a run folder.

    The same config, data, machine and versions give the same bits, also when the run is stopped and resumed anywhere.

    Args:
        config: The run, whole.
        out: The run folder; must not exist, unless it is resumed.
        resume: Continue from the newest whole checkpoint of `out`.
        picture: Draw samples.png (samples.txt for text) at the end.
        data_root: Files that the config names lie below it.
        tell: Is told what was read, once nothing stands in the way of training.

    Raises:
        FkdiffError: The data are not what the config says; the folder exists, is in use, holds no whole checkpoint to
            resume from, was trained with another config or other data; or ten gradients in a row were not finite.
    """
    folder = check_name(Path(out))
    if resume:
        run.find_run(folder)
    else:
        require(
            not folder.exists(),
            f"--out={folder} already exists and is never overwritten; choose another name, or pass --resume to "
            "continue it.",
        )
    config, report = resolve(config, data_root)
    parts = _parts_of(config, data_root)
    if not resume:
        run.create_run(config, folder)
    with exclusive(folder), _stoppable() as stop:
        if resume:
            parts = parts._replace(state=_restored(config, folder, parts.state))
        if tell is not None:
            tell(str(report))
        return _train(config, folder, parts, picture, stop)


class _Parts(NamedTuple):
    """What a run is made of, before its first step."""

    root: Key
    apply: Any
    form: Form
    state: TrainState
    step: Any
    evaluate: Any
    batches: Batches
    unseen: Dataset


def _parts_of(config: TrainConfig, data_root: str | Path) -> _Parts:
    root = seed_key(config.seed)
    batches = Batches(load_data(config, data_root), stream(root, Use.DATA), config.optim.batch_size)
    aside = held_out(config, data_root)
    some = np.sort(shuffled(len(aside.examples))[:LARGEST_HELD_OUT])  # of all kinds: data may lie class by class
    unseen = Dataset(*(jnp.asarray(part[some]) for part in aside))  # type: ignore[arg-type]
    apply, params, form = build_model(config, stream(root, Use.INITIAL))
    optimizer = make_optimizer(config)
    state = init_state(params, optimizer, len(config.optim.more_ema_decays))
    step, evaluate = make_step(config, form, apply, optimizer), make_evaluation(config, form, apply)
    return _Parts(root, apply, form, state, step, evaluate, batches, unseen)


def _train(config: TrainConfig, folder: Path, parts: _Parts, picture: bool, stop: _Stop) -> TrainResult:
    root, state = parts.root, parts.state
    state = jax.device_put(state, parts.batches.whole)
    simple = text_baselines(config)
    start, steps, logging = int(state.step), config.optim.steps, config.logging
    losses: list[Any] = []
    loss, unseen_loss = _measured(folder, start)
    began, since = time.monotonic(), start
    with progress(start, steps) as report, (folder / "metrics.jsonl").open("a") as metrics:
        for k in range(start, steps):
            state, measured = parts.step(state, parts.batches.at(k), root)
            if losses:
                losses[-1].block_until_ready()  # one step ahead and no more: a signal is answered at once
            losses.append(measured["loss"])
            done = k + 1
            last = done == steps or stop.signal is not None
            save = last or done % logging.checkpoint_every == 0
            judge = (save or done % logging.validate_every == 0) and len(parts.unseen.examples) > 0
            if judge or last or done % logging.metrics_every == 0:
                loss, streak = float(np.mean([float(value) for value in losses])), int(state.streak)
                speed = config.optim.batch_size * (done - since) / (time.monotonic() - began)
                row = {"step": done, "loss": loss, "examples_per_second": round(speed, 1)}
                row |= {"gradient_norm": float(measured["gradient_norm"]), "skipped": int(state.skipped)}
                if judge:
                    unseen_loss = row["held_out"] = float(parts.evaluate(state.ema, parts.unseen, root))
                if done == steps:
                    row |= simple
                metrics.write(json.dumps({k: _finite(v) for k, v in row.items()}) + "\n")
                metrics.flush()
                report(done, speed, f"loss {loss:.4f}" + (f"  held out {unseen_loss:.4f}" if judge else ""))
                require(
                    streak < STOP_AFTER,
                    f"{STOP_AFTER} gradients in a row were not finite before step {done}; lower "
                    f"optim.learning_rate and resume from the last checkpoint in {folder}.",
                )
                losses, began, since = [], time.monotonic(), done
            if save:
                _save(config, folder, state, root)
            if logging.samples_every and done % logging.samples_every == 0 and not last:
                _draw(_as_run(config, parts, state), folder / "samples", f"step_{done:08d}")
            if stop.signal is not None:
                break
    finished = stop.signal is None
    if picture and finished:
        _draw(_as_run(config, parts, state), folder, "samples")
    return TrainResult(folder, int(state.step), loss, unseen_loss, stop.signal, simple)


def _as_run(config: TrainConfig, parts: _Parts, state: TrainState) -> run.LoadedRun:
    """The model as it stands, without a detour by the disk."""
    return run.LoadedRun(parts.apply, state.ema, parts.form, config, int(state.step), config.data.num_classes, "", None)


def _draw(model: run.LoadedRun, folder: Path, name: str) -> None:
    from fkdiff.train.pictures import draw_samples

    folder.mkdir(exist_ok=True)
    draw_samples(model, folder, name)


def _measured(folder: Path, step: int) -> tuple[float, float]:
    """Losses on record at `step`, so that a finished run that is resumed says how it ended; NaN where none are."""
    row = next((row for row in metric_rows(folder / "metrics.jsonl") if row["step"] == step), {})
    losses = (row.get("loss"), row.get("held_out"))
    return tuple(float("nan") if loss is None else loss for loss in losses)  # type: ignore[return-value]


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    return value if not isinstance(value, float) or np.isfinite(value) else None


def _parts(state: TrainState, root: Key) -> dict[str, Any]:
    counters = {"step": state.step, "skipped": state.skipped, "streak": state.streak}
    return {
        "params": state.params,
        "ema": state.ema,
        **{f"ema_{number}": ema for number, ema in enumerate(state.more_emas, 1)},
        "optimizer": state.opt_state,
        "counters": counters | {"key": jax.random.key_data(root)},
    }


def _save(config: TrainConfig, folder: Path, state: TrainState, root: Key) -> None:
    checkpoint.save(
        folder / "checkpoints",
        int(state.step),
        _parts(state, root),
        config.model_dump(mode="json"),
        key_implementation=str(jax.random.key_impl(root)),
        precision="x64" if jax.config.jax_enable_x64 else "x32",  # type: ignore[attr-defined]
        **data_facts(config),
    )


def _restored(config: TrainConfig, folder: Path, state: TrainState) -> TrainState:
    """The state of the newest whole checkpoint, if it belongs to this config."""
    fresh = _parts(state, seed_key(config.seed))

    def template(old: dict[str, Any]) -> dict[str, Any]:
        run.check_same(config, old, folder)
        return fresh

    found = checkpoint.restore(folder / "checkpoints", template)
    run.check_corpus(config, found.manifest, folder)
    run.say_skipped(found)
    run.forget_after(folder, found.step)
    run.write_config(config, folder)
    parts = jax.tree.map(jnp.asarray, found.parts)
    counters = parts["counters"]
    more = tuple(parts[f"ema_{number}"] for number in range(1, 1 + len(state.more_emas)))
    tree = (parts["params"], parts["ema"], more, parts["optimizer"])
    return TrainState(counters["step"], *tree, counters["skipped"], counters["streak"])


class _Stop:
    """The signal that asked the run to stop, once one has."""

    signal: int | None = None


@contextlib.contextmanager
def _stoppable() -> Iterator[_Stop]:
    """Turns SIGTERM and the first Ctrl-C into a request; a second Ctrl-C interrupts as usual."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may handle signals
        return
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT)}

    def ask(number, frame):
        stop.signal = number
        signal.signal(signal.SIGINT, before[signal.SIGINT])

    for name in before:
        signal.signal(name, ask)
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
