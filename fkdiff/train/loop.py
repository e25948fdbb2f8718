"""The host loop: everything that is not mathematics. Progress, metrics, checkpoints, signals, resume."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fkdiff.core import require
from fkdiff.train import checkpoint, run
from fkdiff.train.config import TrainConfig
from fkdiff.train.files import check_name, exclusive
from fkdiff.train.metrics import Metrics, recording
from fkdiff.train.plan import Plan, resolved
from fkdiff.train.step import TrainState


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
    folder = _claimable(out, resume)
    plan = resolved(config, data_root)
    state = plan.start()  # before there is a folder: a model that does not fit in memory leaves none behind
    if not resume:
        run.create_run(plan.config, folder)
    with exclusive(folder), _stoppable() as stop:
        if resume:
            state = _restored(plan, folder, state)
        if tell is not None:
            tell(str(plan.report))
        with recording(plan, folder, int(state.step)) as metrics:
            state = _stepped(plan, folder, state, metrics, stop)
        if picture and stop.signal is None:
            _draw(plan.model(state), folder, "samples")
    return TrainResult(folder, int(state.step), metrics.loss, metrics.held_out, stop.signal, plan.baselines)


def _claimable(out: str | Path, resume: bool) -> Path:
    """The run folder: one that is there, to be resumed, or one that is not there yet."""
    folder = check_name(Path(out))
    if resume:
        return run.find_run(folder)
    require(
        not folder.exists(),
        f"--out={folder} already exists and is never overwritten; choose another name, or pass --resume to "
        "continue it.",
    )
    return folder


def _stepped(plan: Plan, folder: Path, state: TrainState, metrics: Metrics, stop: _Stop) -> TrainState:
    """The state after the last step of the plan, or after the step during which the run was asked to stop."""
    state = jax.device_put(state, plan.batches.whole)
    for k in range(int(state.step), plan.timetable.steps):
        state, measured = plan.step(state, plan.batches.at(k), plan.root)
        metrics.add(measured["loss"])
        due = plan.timetable.due(k + 1, stopped=stop.signal is not None)
        if due.measure:
            metrics.write(state, measured["gradient_norm"], due)
        if due.save:
            _save(plan, folder, state)
        if due.draw:
            _draw(plan.model(state), folder / "samples", f"step_{k + 1:08d}")
        if due.last:
            break
    return state


def _draw(model: run.LoadedRun, folder: Path, name: str) -> None:
    from fkdiff.train.pictures import draw_samples

    folder.mkdir(exist_ok=True)
    draw_samples(model, folder, name)


def _parts(plan: Plan, state: TrainState) -> dict[str, Any]:
    """The files of a checkpoint, each a pytree of arrays."""
    counters = {"step": state.step, "skipped": state.skipped, "streak": state.streak}
    return {
        "params": state.params,
        "ema": state.ema,
        **{f"ema_{number}": ema for number, ema in enumerate(state.more_emas, 1)},
        "optimizer": state.opt_state,
        "counters": counters | {"key": jax.random.key_data(plan.root)},
    }


def _save(plan: Plan, folder: Path, state: TrainState) -> None:
    parts, config = _parts(plan, state), plan.config.model_dump(mode="json")
    checkpoint.save(folder / "checkpoints", int(state.step), parts, config, **plan.facts)


def _restored(plan: Plan, folder: Path, fresh: TrainState) -> TrainState:
    """The state of the newest whole checkpoint, if it belongs to this plan."""

    def template(old: dict[str, Any]) -> dict[str, Any]:
        run.check_same(plan.config, old, folder)
        return _parts(plan, fresh)

    found = checkpoint.restore(folder / "checkpoints", template)
    run.check_corpus(plan.facts.get("corpus"), found.manifest, folder)
    run.say_skipped(found)
    run.forget_after(folder, found.step)
    run.write_config(plan.config, folder)
    parts = jax.tree.map(jnp.asarray, found.parts)
    counters = parts["counters"]
    more = tuple(parts[f"ema_{number}"] for number in range(1, 1 + len(fresh.more_emas)))
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
