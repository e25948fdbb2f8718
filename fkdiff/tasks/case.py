"""One target of a task: what to sample, beside what people do without weights, at the model calls that a run took."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import fkdiff as fk

if TYPE_CHECKING:
    from fkdiff.core import Array, Key
    from fkdiff.correctors import WeightedSDE
    from fkdiff.solvers import Solver
    from fkdiff.tasks.config import SteerConfig
    from fkdiff.train.run import LoadedRun


class Setting(NamedTuple):
    """What a task works on.

    Attributes:
        config: The steering config.
        run: The trained model.
        observation: A file of what was seen, for tasks that take one.
    """

    config: SteerConfig
    run: LoadedRun
    observation: Path | None = None


class Baseline(NamedTuple):
    """A way to draw without weights.

    Attributes:
        name: For tables and pictures.
        draw: `draw(key, calls, num_particles, num_samples) -> (draws, calls per draw)`, told what the weighted run
            took: calls per particle, particles, and equally weighted draws taken from them.
    """

    name: str
    draw: Callable[[Key, int, int, int], tuple[Array, int]]


class Case(NamedTuple):
    """One target of a task.

    Attributes:
        name: For tables and file names.
        times: The grid of the run.
        model: What `run_smc` runs.
        baseline: What people do without weights, at equal cost.
        asked: The class that every draw should be of; None where no class was asked.
        formula: The law in words.
        log_z_bound: The most that log Z can be for models that agree with each other; None where nothing bounds it.
        reward: λ r of ONE example, where the law is the model's times e^{λr}.
        facts: What else the task wants to remember, for its verdict and its pictures.
    """

    name: str
    times: Array
    model: Any
    baseline: Baseline
    asked: int | None
    formula: str
    log_z_bound: float | None = None
    reward: Callable[[Array], Array] | None = None
    facts: Any = None


# What `engine.solver` names: solvers with noise, at their reverse SDE.
SOLVERS: dict[str, Callable[[], Solver]] = {
    "ancestral": lambda: fk.solvers.ancestral(),
    "ddim": lambda: fk.solvers.ddim(eta=1.0),
    "exponential": lambda: fk.solvers.exponential(),
    "euler": lambda: fk.solvers.euler(noise=1.0),
}


def corrected(name: str, target: WeightedSDE, engine: Any, asked: int | None, formula: str, **facts: Any) -> Case:
    """A case whose law is a corrector's target; the baseline is its uncorrected heuristic."""
    model = target.feynman_kac(engine.step, engine.noise, engine.control)
    return Case(name, fk.grid(engine.num_steps, target.path), model, uncorrected(target), asked, formula, **facts)


def uncorrected(target: WeightedSDE) -> Baseline:
    """The score of the target taken for a model's own: by the flow for guidance, by the reverse SDE for the rest.

    As many draws as there are particles, each at the calls of one.
    """
    factors = len(target.factors)
    solver: Any = fk.solvers.heun() if factors > 1 else fk.solvers.euler(noise=1.0)

    def draw(key: Key, calls: int, num_particles: int, num_samples: int) -> tuple[Array, int]:
        pred, per_step = target.heuristic(), solver.evaluations * factors
        steps = max(1, calls // per_step)
        return fk.integrate(key, pred, solver, fk.grid(steps, pred.path), num_particles), steps * per_step

    return Baseline("heuristic", draw)


def best_of(pred: fk.Predictor, solver: Solver, reward: Callable[[Array], Array], times: Array) -> Baseline:
    """The best of n plain draws, for as many draws as are taken from the weighted run and at all of its calls."""
    per_draw = (len(times) - 1) * (solver.evaluations + solver.jvps(pred.shape))

    def draw(key: Key, calls: int, num_particles: int, num_samples: int) -> tuple[Array, int]:
        n = max(1, calls * num_particles // (per_draw * num_samples))
        return fk.steering.best_of_n(key, pred, solver, reward, times, num_samples, n)[0], n * per_draw

    return Baseline("best of n", draw)
