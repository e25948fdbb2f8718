"""The potentials of a reward along the path: statistics, ramps, and the value that stands for −∞ on the way.

With value estimates R_k of λ r at the end, a statistic m_k of R_0 … R_k and a ramp ρ_k, the particle carries its
cumulative potential a_k:

    a_k = ρ_k m_k,    log G_0 = a_0,    log G_k = a_k − a_{k−1},    final:  λ r(x_K) − a_K

The product of all G is e^{λ r(x_K)} for every finite a_k that is known when the step is weighed, the population
included: statistic, ramp, estimate and floor move variance and never the law.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Scalar, bisect_magnitude, number, require
from fkdiff.smc.weights import ess

HALVINGS = 26  # the rise of an adaptive ramp is known to a millionth of itself
SMALLEST = 1e-30  # of a rise; rewards may be large

# statistic(previous m, new R, number of estimates seen before) -> new m
Statistic = Callable[[Array, Array, Array], Array]


def _latest(m: Array, estimate: Array, seen: Array) -> Array:
    return estimate


def _largest(m: Array, estimate: Array, seen: Array) -> Array:
    return jnp.where(seen == 0, estimate, jnp.maximum(m, estimate))


def _mean(m: Array, estimate: Array, seen: Array) -> Array:
    return m + (estimate - m) / (seen + 1)


# "sum" is the running mean: a running sum would grow with the number of steps beyond any reward.
# "terminal" has no potential on the way, so that nothing is estimated there.
POTENTIALS: dict[str, Statistic] = {"difference": _latest, "max": _largest, "sum": _mean, "terminal": _latest}


def floored(estimates: Array, depth: Array) -> Array:
    """−∞ counts as the median of the population's finite estimates minus `depth`, in nats; 0 where none is finite.

    A path whose estimate is −∞ may still end well: at −∞ it would be lost, and at a large finite penalty it would come
    back with a huge weight. Shallow floors lose neither.
    """

    def raised(estimates):
        known = jnp.nanmedian(jnp.where(jnp.isfinite(estimates), estimates, jnp.nan))
        floor = jnp.where(jnp.isnan(known), 0.0, known - depth).astype(estimates.dtype)
        return jnp.where(estimates == -jnp.inf, floor, estimates)

    return jax.lax.cond(jnp.any(estimates == -jnp.inf), raised, lambda estimates: estimates, estimates)


def linear_ramp(progress: Array) -> Array:
    """The default ramp: as much of the reward as of the path."""
    return progress


class AdaptiveRamp(eqx.Module):
    """See `adaptive_ramp`."""

    ess: Array
    cap: Callable[[Array], Array]

    def __call__(self, progress: Array) -> Array:
        """The cap."""
        return self.cap(progress)

    def solved(self, log_weights: Array, statistics: Array, least: Array, most: Array) -> Array:
        """The largest ρ in [least, most] at which the ESS is `ess` times its value at `least`.

        Args:
            log_weights: Without any of the reward: log w − a, (N,).
            statistics: m, (N,).
            least: The ramp so far, a scalar.
            most: The cap.
        """

        def weights(ramp):
            return log_weights + ramp * statistics

        floor = self.ess * ess(weights(least))

        most = jnp.maximum(most, least)
        low = jnp.full_like(least, SMALLEST)
        rise, _ = bisect_magnitude(lambda rise: ess(weights(least + rise)) >= floor, low, most - least, HALVINGS)
        return jax.lax.stop_gradient(jnp.where(ess(weights(most)) >= floor, most, least + rise))


def adaptive_ramp(ess: Scalar = 0.9, cap: Callable[[Array], Array] = linear_ramp) -> AdaptiveRamp:
    """A ramp that rises, at every step, as far as the ESS stays at `ess` of its value without rising.

    Without a cap it would reach 1 at the first step, where all clean estimates agree and a potential changes nothing
    yet. The ramp looks at the population, and Ẑ stays exactly unbiased: w e^{−a} is the weight without the reward for
    whatever a was chosen before the step is weighed.

    Args:
        ess: Share in (0, 1]; nearer 1 is slower. A leaf.
        cap: The largest ramp, over the progress from 0 to 1; linear by default.

    References: Kim, Kim and Park (2025) for tempered twists; Jasra et al. (2011) for bisection on the ESS.
    """
    require(callable(cap), f"cap={cap!r} is not a function; pass cap(progress), from 0 at t_min to 1 at t_max.")
    return AdaptiveRamp(number("ess", ess, 1e-3, 1.0, "a share of the effective sample size"), cap)


class TabulatedRamp(eqx.Module):
    """A ramp read from a table over progress: what a pilot's adaptive ramp was (`fkdiff.smc.freeze`).

    Attributes:
        progress: Increasing, (M,).
        shares: ρ, (M,).
    """

    progress: Array
    shares: Array

    def __call__(self, progress: Array) -> Array:
        return jnp.interp(progress, self.progress, self.shares)
