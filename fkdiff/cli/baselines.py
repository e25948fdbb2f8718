"""What people do without weights, at the model calls that a weighted run took."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from fkdiff.core import Array, Key
from fkdiff.correctors import WeightedSDE
from fkdiff.paths import grid
from fkdiff.prediction import Predictor
from fkdiff.solvers import Solver, euler, heun, integrate
from fkdiff.steering import best_of_n


class Budget(NamedTuple):
    """What a weighted run took.

    Attributes:
        calls: Model evaluations + Jacobian products per particle.
        num_particles: N.
        num_samples: Equally weighted draws taken from it.
        num_steps: Time steps.
    """

    calls: int
    num_particles: int
    num_samples: int
    num_steps: int


class Baseline(NamedTuple):
    """A way to draw without weights.

    Attributes:
        name: For tables and pictures.
        draw: `draw(key, budget) -> (draws, calls per draw)`.
    """

    name: str
    draw: Callable[[Key, Budget], tuple[Array, int]]


def uncorrected(target: WeightedSDE) -> Baseline:
    """The score of the target taken for a model's own: by the flow for guidance, by the reverse SDE for the rest.

    As many draws as there are particles, each at the calls of one.
    """
    factors = len(target.factors)
    solver: Any = heun() if factors > 1 else euler(noise=1.0)

    def draw(key: Key, budget: Budget) -> tuple[Array, int]:
        pred, per_step = target.heuristic(), solver.evaluations * factors
        steps = max(1, budget.calls // per_step)
        return integrate(key, pred, solver, grid(steps, pred.path), budget.num_particles), steps * per_step

    return Baseline("heuristic", draw)


def best_of(pred: Predictor, solver: Solver, reward: Callable[[Array], Array]) -> Baseline:
    """The best of n plain draws, for as many draws as are taken from the weighted run and at all of its calls."""

    def draw(key: Key, budget: Budget) -> tuple[Array, int]:
        per_draw = budget.num_steps * solver.evaluations
        n = max(1, budget.calls * budget.num_particles // (per_draw * budget.num_samples))
        times = grid(budget.num_steps, pred.path)
        draws, _ = best_of_n(key, pred, solver, reward, times, budget.num_samples, n)
        return draws, n * per_draw

    return Baseline("best of n", draw)
