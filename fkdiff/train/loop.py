"""The host loop: everything that is not mathematics. Progress, metrics, checkpoints, signals, resume."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterator
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
from fkdiff.train.build import build_model
from fkdiff.train.config import TrainConfig
from fkdiff.train.data import Dataset, data_facts, held_out, load_data
from fkdiff.train.files import check_name, exclusive
from fkdiff.train.step import STOP_AFTER, TrainState, init_state, make_evaluation, make_optimizer, make_step


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


def train(config: TrainConfig, out: str | Path, resume: bool = False, picture: bool = True) -> TrainResult:
    """Trains a model from a config into a run folder.

    The same config, machine and versions give the same bits, also when the run is stopped and resumed anywhere.

    Args:
        config: The run, whole.
        out: The run folder; must not exist, unless it is resumed.
        resume: Continue from the newest whole checkpoint of `out`.
        picture: Draw samples.png (samples.txt for text) at the end.

    Raises:
        FkdiffError: The folder exists, is in use, holds no whole checkpoint to resume from, was trained with
            another config; or ten gradients in a row were not finite.
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
        run.create_run(config, folder)
    with exclusive(folder), _stoppable() as stop:
        return _train(config, folder, resume, picture, stop)


def _train(config: TrainConfig, folder: Path, resume: bool, picture: bool, stop: _Stop) -> TrainResult:
    root = seed_key(config.seed)
    apply, params, form = build_model(config, stream(root, Use.INITIAL))
    optimizer = make_optimizer(config)
    state = init_state(params, optimizer)
    if resume:
        state = _restored(config, folder, state)
    step = make_step(config, form, apply, optimizer)
    evaluate = make_evaluation(config, form, apply)
    data, unseen = _on_device(load_data(config)), _on_device(held_out(config))
    simple = text_baselines(config)
    start, steps, batch = int(state.step), config.optim.steps, config.optim.batch_size
    losses: list[Any] = []
    loss, unseen_loss = _measured(folder, start)
    began, since = time.monotonic(), start
    with progress(start, steps) as report, (folder / "metrics.jsonl").open("a") as metrics:
        for k in range(start, steps):
            state, measured = step(state, data, root)
            if losses:
                losses[-1].block_until_ready()  # one step ahead and no more: a signal is answered at once
            losses.append(measured["loss"])
            done = k + 1
            last = done == steps or stop.signal is not None
            save = last or done % config.logging.checkpoint_every == 0
            if last or done % config.logging.metrics_every == 0:
                loss, streak = float(np.mean([float(value) for value in losses])), int(state.streak)
                speed = batch * (done - since) / (time.monotonic() - began)
                row = {"step": done, "loss": loss, "examples_per_second": round(speed, 1)}
                row |= {"gradient_norm": float(measured["gradient_norm"]), "skipped": int(state.skipped)}
                if save:
                    unseen_loss = row["held_out"] = float(evaluate(state.ema, unseen, root))
                if done == steps:
                    row |= simple
                metrics.write(json.dumps({k: _finite(v) for k, v in row.items()}) + "\n")
                metrics.flush()
                report(done, speed, f"loss {loss:.4f}" + (f"  held out {unseen_loss:.4f}" if save else ""))
                require(
                    streak < STOP_AFTER,
                    f"{STOP_AFTER} gradients in a row were not finite before step {done}; lower "
                    f"optim.learning_rate and resume from the last checkpoint in {folder}.",
                )
                losses, began, since = [], time.monotonic(), done
            if save:
                _save(config, folder, state, root)
            if stop.signal is not None:
                break
    finished = stop.signal is None
    if picture and finished:
        from fkdiff.train.pictures import draw_samples

        draw_samples(run.load_run(folder), folder)
    return TrainResult(folder, int(state.step), loss, unseen_loss, stop.signal, simple)


def _measured(folder: Path, step: int) -> tuple[float, float]:
    """Losses on record at `step`, so that a finished run that is resumed says how it ended; NaN where none are."""
    file = folder / "metrics.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    row = next((row for row in rows if row["step"] == step), {})
    losses = (row.get("loss"), row.get("held_out"))
    return tuple(float("nan") if loss is None else loss for loss in losses)  # type: ignore[return-value]


def _on_device(data: Dataset) -> Dataset:
    return Dataset(*(jnp.asarray(part) for part in data))  # type: ignore[arg-type]


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    return value if not isinstance(value, float) or np.isfinite(value) else None


def _parts(state: TrainState, root: Key) -> dict[str, Any]:
    counters = {"step": state.step, "skipped": state.skipped, "streak": state.streak}
    return {
        "params": state.params,
        "ema": state.ema,
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
    return TrainState(
        counters["step"], parts["params"], parts["ema"], parts["optimizer"], counters["skipped"], counters["streak"]
    )


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
