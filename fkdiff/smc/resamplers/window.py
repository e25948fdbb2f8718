"""Resampling inside a window of times only.

Early in a diffusion the weights say little, and late duplicates have no time left to separate: outside the window the
weights are carried instead. The law does not depend on it, since E Ẑ = Z holds for any times of resampling that do not
look at the future.
"""

from __future__ import annotations

import jax

from fkdiff.core import Array, FkdiffError, Key, Scalar, concrete, number, require
from fkdiff.smc.model import SLACK
from fkdiff.smc.resamplers.resampling import Decorated, Resampled, ResampleFunction, as_resampler, unmoved


class Within(Decorated):
    """A resampler that waits for a time: `at(t)` is the resampler inside [start, end], and the identity outside."""

    start: Array
    end: Array

    def at(self, t: Array) -> Gated:
        """The resampler at time t."""
        return Gated(self.resampler.at(t), (t >= self.start - SLACK) & (t <= self.end + SLACK))

    def __call__(self, key: Key, log_weights: Array) -> Resampled:
        raise FkdiffError("within(...) resamples by the time, so call within(...).at(t); the engine does it itself.")


class Gated(Decorated):
    """A resampler behind a gate: the identity with weights untouched while it is shut."""

    gate: Array

    def __call__(self, key: Key, log_weights: Array) -> Resampled:
        def go(key, log_weights):  # cond hashes its branches, and a module with traced leaves has no hash
            return self.resampler(key, log_weights)

        def keep(key, log_weights):
            return unmoved(self.resampler, key, log_weights)

        return jax.lax.cond(self.gate, go, keep, key, log_weights)


def within(resampler: ResampleFunction, start: Scalar, end: Scalar) -> Within:
    """`resampler`, applied only to populations at times start ≤ t ≤ end.

    Args:
        resampler: Any resampler, e.g. `adaptive(systematic, 0.5)`; it may itself be decorated, or decorate this.
        start: First time at which to resample, a leaf: another window does not recompile.
        end: Last time. A step from t0 to t1 resamples before the move, so that t0 decides; ends are met within 1e-6.

    Raises:
        FkdiffError: The window is empty, or a time is not a number.

    Gradients: as those of `resampler`.
    """
    resampler = as_resampler(resampler)
    start, end = number("start", start, action="a time"), number("end", end, action="a time")
    first, last = concrete(start), concrete(end)
    if first is not None and last is not None:
        require(
            bool(first <= last),
            f"the window from start={first.item():.4g} to end={last.item():.4g} holds no time; give start ≤ end "
            "(t = 0 is noise, t = 1 is data).",
        )
    return Within(resampler, start, end)
