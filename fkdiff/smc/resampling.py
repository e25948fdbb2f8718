"""Resamplers: `(key, log_weights) -> (ancestors, log_weights, resampled)`.

    ancestors    int32 (N,), the particle that each slot copies
    log_weights  (N,), 0 after a resampling, untouched otherwise
    resampled    bool (), whether it happened

The expected number of copies of particle i is N W_i for each of the four schemes, so E Ẑ = Z under all.
`adaptive`, `stop_gradient` and `within` take a resampler and return one. Where no CDF exists (every particle dead, a
NaN or a +inf) the answer is the identity with weights untouched: the engine's status says why.

A resampler that depends on time has a method `at(t) -> resampler`, which the engine calls with the time of the state
before the move; a decorator passes it on to what it decorates (`at`).

Gradients: ancestors are integers and carry none, so differentiating a run through a resampling silently drops
terms; `stop_gradient` restores them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, Scalar, concrete, require
from fkdiff.smc import ancestors as injected
from fkdiff.smc.weights import ess

Resampled = tuple[Array, Array, Array]
Resampler = Callable[[Key, Array], Resampled]


def systematic(key: Key, log_weights: Array) -> Resampled:
    """One uniform for all N points (k + u)/N: every |count − N W_i| < 1, lowest variance in practice, fastest.

    Cost: O(N). References: Carpenter, Clifford and Fearnhead (1999).
    """
    u = jax.random.uniform(key, (), log_weights.dtype)
    return outcome(injected.systematic_ancestors(u, log_weights), log_weights)


def stratified(key: Key, log_weights: Array) -> Resampled:
    """One uniform in each stratum [k/N, (k + 1)/N): every |count − N W_i| < 2, never worse than multinomial.

    Cost: O(N). References: Kitagawa (1996).
    """
    u = jax.random.uniform(key, log_weights.shape, log_weights.dtype)
    return outcome(injected.stratified_ancestors(u, log_weights), log_weights)


def multinomial(key: Key, log_weights: Array) -> Resampled:
    """N independent draws: the highest variance, and the scheme that most theorems speak of.

    Cost: O(N log N), from sorted uniforms. References: Gordon, Salmond and Smith (1993).
    """
    u = jax.random.uniform(key, (log_weights.shape[0] + 1,), log_weights.dtype)
    return outcome(injected.multinomial_ancestors(u, log_weights), log_weights)


def residual(key: Key, log_weights: Array) -> Resampled:
    """⌊N W_i⌋ copies for certain and the remainder multinomial.

    Cost: O(N log N). References: Liu and Chen (1998).
    """
    u = jax.random.uniform(key, (log_weights.shape[0] + 1,), log_weights.dtype)
    return outcome(injected.residual_ancestors(u, log_weights), log_weights)


def outcome(chosen: Array, log_weights: Array) -> Resampled:
    """The chosen ancestors and weights of 0, or the identity where the weights define no distribution."""
    usable = jnp.isfinite(jnp.max(log_weights))  # the maximum is NaN if anything is
    identity = jnp.arange(log_weights.shape[0], dtype=jnp.int32)
    reset = jnp.where(usable, jnp.zeros_like(log_weights), log_weights)
    return jnp.where(usable, chosen, identity), reset, usable


def at(resampler: Resampler, t: Array) -> Resampler:
    """The resampler at time t: itself, unless it has an `at` of its own."""
    own: Any = getattr(resampler, "at", None)
    return resampler if own is None else own(t)


class Adaptive(eqx.Module):
    """Resamples only when ESS < threshold · N, strictly; otherwise the identity with weights untouched."""

    resampler: Resampler
    threshold: Array

    def at(self, t: Array) -> Adaptive:
        """The same rule for the resampler at time t."""
        return Adaptive(at(self.resampler, t), self.threshold)

    def __call__(self, key: Key, log_weights: Array) -> Resampled:
        count = log_weights.shape[0]
        low = ess(log_weights) < self.threshold.astype(log_weights.dtype) * count

        def go(key, log_weights):  # cond hashes its branches, and a module with traced leaves has no hash
            return self.resampler(key, log_weights)

        def keep(_, log_weights):
            return jnp.arange(count, dtype=jnp.int32), log_weights, jnp.asarray(False)

        return jax.lax.cond(low, go, keep, key, log_weights)


def adaptive(resampler: Resampler, threshold: Scalar = 0.5) -> Adaptive:
    """`resampler`, applied only when ESS < threshold · N, strictly.

    Args:
        resampler: Any resampler, e.g. `systematic`.
        threshold: Share of N in [0, 1]; 0 never resamples, 1 resamples unless all weights are equal. A leaf: another
            value does not recompile.

    References: Liu and Chen (1995); Del Moral, Doucet and Jasra (2012) for the estimates' validity.
    """
    known = concrete(threshold)
    require(
        known is None or bool(known.ndim == 0 and 0 <= known <= 1),
        f"threshold={threshold} must be one number in [0, 1], a share of the particles; 0.5 is the usual choice.",
    )
    return Adaptive(resampler, jnp.asarray(threshold, jnp.result_type(float)))


class StopGradient(eqx.Module):
    """A resampler whose weights keep the value 0 and regain the gradient of log W that the choice dropped."""

    resampler: Resampler

    def at(self, t: Array) -> StopGradient:
        """The same decoration of the resampler at time t."""
        return StopGradient(at(self.resampler, t))

    def __call__(self, key: Key, log_weights: Array) -> Resampled:
        ancestors, after, resampled = self.resampler(key, log_weights)
        normalised = log_weights - jax.nn.logsumexp(log_weights)
        carried = normalised[ancestors]
        attached = after + carried - jax.lax.stop_gradient(carried)
        return ancestors, jnp.where(resampled, attached, after), resampled


def stop_gradient(resampler: Resampler) -> StopGradient:
    """`resampler` with weights W/⊥W: same numbers, and the gradient of log Ẑ becomes Fisher's identity.

    The gradient is right for parameters of the potentials; for parameters of the proposals it also needs their
    densities in the potential. Put it outside: `stop_gradient(adaptive(systematic))`.

    References: Ścibior and Wood (2021), algorithm 1.
    """
    return StopGradient(resampler)


SCHEMES = (
    (systematic, "systematic"),
    (stratified, "stratified"),
    (multinomial, "multinomial"),
    (residual, "residual"),
)


def scheme(resampler: Resampler) -> str:
    """The family under all decorators, which decides the evidence's error formula; "other" if it is a stranger."""
    base: Any = resampler
    while hasattr(base, "resampler"):
        base = base.resampler
    return next((name for known, name in SCHEMES if known is base), getattr(base, "family", "other"))
