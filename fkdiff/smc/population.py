"""`Population`: a model from functions of a whole population."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx

from fkdiff.core import Array
from fkdiff.smc.model import Model


class Population(Model):
    """A Feynman–Kac model from functions of a whole population of N particles.

    Args:
        initial: `initial(key, num_particles, t) -> (particles, log_weights, MoveInfo)`, the law at the first
            grid time with log G_0, shape (N,).
        move: `move(key, particles, log_weights, t0, t1) -> (particles, log_increments, MoveInfo)`; it may use
            the weights (control does), and must not resample.
        final: `final(particles) -> log_increments`, once after the last move.
        refresh: `refresh(key, particles, t) -> particles`, leaves the target at t invariant; run under
            `lax.cond` after a resampling, and only then.
        extract: `extract(particles) -> tree`, what the result holds as `particles`.
        refresh_cost: (evaluations, jvps) per particle of one refresh, for the cost in `info`.
        resampler: The one resampler that the model can run with, where there is but one; None for any.
        estimate: `estimate(key, particles, t, num) -> examples`, where the particles will end: `num` draws each,
            (N, num, …), or one estimate each for num = 0; `fkdiff.smc.rewarded` asks for it.
        time_range: (start, end) where the model lives in time, or None.
        independent: Whether `move` treats every particle without looking at the others or their weights.
    """

    initial_all: Callable
    move_all: Callable
    final_all: Callable | None
    refresh_all: Callable | None
    extract_all: Callable | None
    estimate_all: Callable | None
    rule: Any
    times: tuple[Array, Array] | None
    calls: tuple[int, int] = eqx.field(static=True)
    alone: bool = eqx.field(static=True)

    def __init__(
        self,
        initial: Callable,
        move: Callable,
        final: Callable | None = None,
        refresh: Callable | None = None,
        extract: Callable | None = None,
        refresh_cost: tuple[int, int] = (0, 0),
        resampler: Callable | None = None,
        *,
        estimate: Callable | None = None,
        time_range: tuple[Array, Array] | None = None,
        independent: bool = False,
    ):
        self.initial_all, self.move_all, self.final_all, self.refresh_all = initial, move, final, refresh
        self.extract_all, self.estimate_all, self.rule = extract, estimate, resampler
        self.calls, self.times, self.alone = refresh_cost, time_range, independent

    def initial(self, key, num_particles, t):
        return self.initial_all(key, num_particles, t)

    def move(self, key, particles, log_weights, t0, t1):
        return self.move_all(key, particles, log_weights, t0, t1)

    def final(self, particles, t):
        return super().final(particles, t) if self.final_all is None else self.final_all(particles)

    def refresh(self, key, particles, t):
        return particles if self.refresh_all is None else self.refresh_all(key, particles, t)

    def extract(self, particles, t):
        return particles if self.extract_all is None else self.extract_all(particles)

    def estimate(self, key, particles, t, num):
        ends = self.estimate_all
        return super().estimate(key, particles, t, num) if ends is None else ends(key, particles, t, num)

    @property
    def time_range(self) -> tuple[Array, Array] | None:
        return self.times

    @property
    def resampler(self) -> Any:
        return self.rule

    @property
    def refresh_cost(self) -> tuple[int, int]:
        return self.calls

    @property
    def independent(self) -> bool:
        return self.alone

    @property
    def transportable(self) -> bool:
        """Whether the leaves may be averaged is left to whoever writes them."""
        return True
