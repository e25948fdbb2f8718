"""Resamplers: `(key, log_weights) -> (ancestors, log_weights, resampled)`.

    ancestors    int32 (N,), the particle that each slot copies; or float (N, N), rows of shares that each slot mixes
    log_weights  (N,), 0 after a resampling, untouched otherwise
    resampled    bool (), whether it happened

The expected number of copies of particle i is N W_i for each of the four schemes, so E Ẑ = Z under all.
`adaptive`, `stop_gradient` and `within` take a resampler and return one. Where no CDF exists (every particle dead, a
NaN or a +inf) the answer is the identity with weights untouched: the engine's status says why.

Every resampler is a `Resampler`, and what decorates another is a `Decorated`. A plain function of (key, log_weights)
is accepted wherever a resampler is: `as_resampler` makes one of it. One that depends on time or looks at the particles
says so in `at` and `given`, which the engine calls before the move.

Gradients: ancestors are integers and carry none, so a derivative through a plain resampling would silently drop terms:
it is refused where weights become a CDF (`ancestors`). What may stand in its place:

    never                    pathwise: nothing is dropped (annealed importance sampling)
    stop_gradient            right, of high variance
    soft, optimal_transport  biased, of lower variance
    detached                 biased: the choice is taken for a constant, as is usual for learning proposals
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, PyTree, Scalar, concrete, require
from fkdiff.smc.resamplers import ancestors as injected
from fkdiff.smc.weights import ess

Resampled = tuple[Array, Array, Array]
ResampleFunction = Callable[[Key, Array], Resampled]  # a resampler, or a function that `as_resampler` makes one of


class Resampler(eqx.Module):
    """What chooses ancestors: `(key, log_weights) -> (ancestors, log_weights, resampled)`.

    Attributes:
        family: Name of the scheme, which decides the formula of the evidence's error: "systematic", "stratified",
            "multinomial", "residual", "waste-free", "transport", or "other".
        gradient: What a derivative through it is: see `gradient_class`.
        averages: Whether slots mix particles by a plan rather than copy one each.
        plan_tolerance: L1 distance from the weights that a plan may have; beyond it the engine says `UNFINISHED`.
    """

    family: ClassVar[str] = "other"
    gradient: ClassVar[str] = "undeclared"
    averages: ClassVar[bool] = False
    plan_tolerance: ClassVar[float] = 1e-4

    def at(self, t: Array) -> Resampler:
        """The resampler at time t: itself, unless it depends on time."""
        return self

    def given(self, particles: PyTree) -> Resampler:
        """The resampler that knows the particles: itself, unless it looks at them."""
        return self

    @abc.abstractmethod
    def __call__(self, key: Key, log_weights: Array) -> Resampled:
        """Chooses the ancestors of a population with these log-weights."""


class FromFunction(Resampler):
    """A plain function as a resampler: of the family "other", with a gradient that is "undeclared"."""

    function: ResampleFunction

    def __call__(self, key: Key, log_weights: Array) -> Resampled:
        return self.function(key, log_weights)


def as_resampler(resample: ResampleFunction) -> Resampler:
    """`resample` itself, or the resampler that calls it if it is a plain function."""
    if isinstance(resample, Resampler):
        return resample
    require(
        callable(resample),
        f"resampler={resample!r} is not a resampler; pass fkdiff.smc.systematic, or adaptive(systematic, 0.5).",
    )
    return FromFunction(resample)


class Decorated(Resampler):
    """A resampler around another: a decorator says only what it changes, and the rest is that of the other."""

    resampler: Resampler = eqx.field(converter=as_resampler)

    @property
    def family(self) -> str:
        """That of the resampler inside."""
        return self.resampler.family

    @property
    def gradient(self) -> str:
        """That of the resampler inside."""
        return self.resampler.gradient

    @property
    def averages(self) -> bool:
        """That of the resampler inside."""
        return self.resampler.averages

    @property
    def plan_tolerance(self) -> float:
        """That of the resampler inside."""
        return self.resampler.plan_tolerance

    def at(self, t: Array) -> Resampler:
        """The same decoration of the resampler at time t."""
        return dataclasses.replace(self, resampler=self.resampler.at(t))

    def given(self, particles: PyTree) -> Resampler:
        """The same decoration of the resampler that knows the particles."""
        return dataclasses.replace(self, resampler=self.resampler.given(particles))


class Systematic(Resampler):
    """One uniform for all N points (k + u)/N: every |count − N W_i| < 1, lowest variance in practice, fastest.

    Cost: O(N). References: Carpenter, Clifford and Fearnhead (1999).
    """

    family = "systematic"
    gradient = "refused"

    def __call__(self, key: Key, log_weights: Array) -> Resampled:
        u = jax.random.uniform(key, (), log_weights.dtype)
        return outcome(injected.systematic_ancestors(u, log_weights), log_weights)


class Stratified(Resampler):
    """One uniform in each stratum [k/N, (k + 1)/N): every |count − N W_i| < 2, never worse than multinomial.

    Cost: O(N). References: Kitagawa (1996).
    """

    family = "stratified"
    gradient = "refused"

    def __call__(self, key: Key, log_weights: Array) -> Resampled:
        u = jax.random.uniform(key, log_weights.shape, log_weights.dtype)
        return outcome(injected.stratified_ancestors(u, log_weights), log_weights)


class Multinomial(Resampler):
    """N independent draws: the highest variance, and the scheme that most theorems speak of.

    Cost: O(N log N), from sorted uniforms. References: Gordon, Salmond and Smith (1993).
    """

    family = "multinomial"
    gradient = "refused"

    def __call__(self, key: Key, log_weights: Array) -> Resampled:
        u = jax.random.uniform(key, (log_weights.shape[0] + 1,), log_weights.dtype)
        return outcome(injected.multinomial_ancestors(u, log_weights), log_weights)


class Residual(Resampler):
    """⌊N W_i⌋ copies for certain and the remainder multinomial.

    Cost: O(N log N). References: Liu and Chen (1998).
    """

    family = "residual"
    gradient = "refused"

    def __call__(self, key: Key, log_weights: Array) -> Resampled:
        u = jax.random.uniform(key, (log_weights.shape[0] + 1,), log_weights.dtype)
        return outcome(injected.residual_ancestors(u, log_weights), log_weights)


class Never(Resampler):
    """No resampling: sequential importance sampling, whose derivatives are pathwise. Cost: none."""

    gradient = "pathwise"

    def __call__(self, key: Key, log_weights: Array) -> Resampled:
        return jnp.arange(log_weights.shape[0], dtype=jnp.int32), log_weights, jnp.asarray(False)


systematic, stratified, multinomial, residual = Systematic(), Stratified(), Multinomial(), Residual()
never = Never()


def outcome(chosen: Array, log_weights: Array) -> Resampled:
    """The chosen ancestors and weights of 0, or the identity where the weights define no distribution."""
    usable = jnp.isfinite(jnp.max(log_weights))  # the maximum is NaN if anything is
    identity = jnp.arange(log_weights.shape[0], dtype=jnp.int32)
    reset = jnp.where(usable, jnp.zeros_like(log_weights), log_weights)
    return jnp.where(usable, chosen, identity), reset, usable


def unmoved(resampler: Resampler, key: Key, log_weights: Array) -> Resampled:
    """What `resampler` answers where nothing is resampled: the identity in its own form, copies or a plan."""
    form = jax.eval_shape(lambda *arguments: resampler(*arguments)[0], key, log_weights)
    count = log_weights.shape[0]
    same = jnp.arange(count, dtype=jnp.int32) if form.ndim == 1 else jnp.eye(count, dtype=form.dtype)
    return same, log_weights, jnp.asarray(False)


class Adaptive(Decorated):
    """Resamples only when ESS < threshold · N, strictly; otherwise the identity with weights untouched."""

    threshold: Array

    def __call__(self, key: Key, log_weights: Array) -> Resampled:
        count = log_weights.shape[0]
        low = ess(jax.lax.stop_gradient(log_weights)) < self.threshold.astype(log_weights.dtype) * count

        def go(key, log_weights):  # cond hashes its branches, and a module with traced leaves has no hash
            return self.resampler(key, log_weights)

        def keep(key, log_weights):
            return unmoved(self.resampler, key, log_weights)

        return jax.lax.cond(low, go, keep, key, log_weights)


def adaptive(resampler: ResampleFunction, threshold: Scalar = 0.5) -> Adaptive:
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


class StopGradient(Decorated):
    """A resampler whose weights keep the value 0 and regain the gradient of log W that the choice dropped."""

    score: bool = eqx.field(static=True, default=True)

    @property
    def gradient(self) -> str:
        """See `gradient_class`."""
        return "score" if self.score else "biased"

    def given(self, particles: PyTree) -> Resampler:
        """The same decoration of the resampler that knows the particles, but no derivative through them."""
        return super().given(jax.lax.stop_gradient(particles))

    def __call__(self, key: Key, log_weights: Array) -> Resampled:
        ancestors, after, resampled = self.resampler(key, jax.lax.stop_gradient(log_weights))
        require(
            ancestors.ndim == 1,
            "stop_gradient decorates resamplers that copy; transport and soft resampling carry gradients of their own.",
        )
        if self.score:
            carried = (log_weights - jax.nn.logsumexp(log_weights))[ancestors]
            # The dead have no derivative, and −inf − (−inf) no value.
            alive = carried > -jnp.inf
            carried = jnp.where(alive, carried, 0.0)
            after = after + carried - jax.lax.stop_gradient(carried)
        return ancestors, jnp.where(resampled, after, log_weights), resampled


def stop_gradient(resampler: ResampleFunction) -> StopGradient:
    """`resampler` with weights W/⊥W: same numbers, and the gradient of log Ẑ becomes Fisher's identity.

    The gradient of E Ẑ is right for every parameter of potentials and of moves that are differentiable in it, given
    independent ancestors: exactly for `multinomial`, in the limit for the others. Its variance grows with the number of
    steps. Put it outside: `stop_gradient(adaptive(systematic))`.

    References: Ścibior and Wood (2021), algorithm 1.
    """
    return StopGradient(resampler)


def detached(resampler: ResampleFunction) -> StopGradient:
    """`resampler`, its choice taken for a constant: a *biased* gradient of low variance, for learning proposals.

    At proposals under which the weights are constant nothing is resampled and the bias is gone: that is where learning
    leads. Never use it for parameters of the model.

    References: Maddison et al. (2017), section 4; Le et al. (2018), section 3.1; Naesseth et al. (2018), eq. 9.
    """
    return StopGradient(resampler, score=False)


def gradient_class(resampler: ResampleFunction) -> str:
    """What a derivative through `resampler` is: "refused", "pathwise", "score" (right for E Ẑ) or "biased".

    That of the outermost decorator that says so; a plain function is "undeclared".
    """
    return as_resampler(resampler).gradient
