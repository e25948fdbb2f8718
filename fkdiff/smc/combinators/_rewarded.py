"""A reward on any model: the law of its last particles times e^{λ r}, by potentials that always add up to λ r.

The particle carries the inner particle, a statistic m and the cumulative potential a (see `potentials`). One identity
carries everything: if the weights since the last resampling hold a_k − a_{k−1}, then

    w e^{−a} is the inner model's weight for every finite a that is known when the step is weighed,

the population and random draws included, so that E[ Ẑ (1/N) Σ w e^{−a} φ ] is the inner model's for every N. Ramps,
floors and estimates may look at the population, and Ẑ stays unbiased; an error of O(1/N) comes only from inner moves
that look at it. A refresh is the inner model's and leaves a and m as they are: computing them anew without a weight
would change the law.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, PyTree, Scalar, choose, chunk_size, chunked_vmap, number, require, scalar_reward
from fkdiff.smc import arguments
from fkdiff.smc.combinators._host import HostReward
from fkdiff.smc.combinators.potentials import POTENTIALS, AdaptiveRamp, TabulatedRamp, floored, linear_ramp
from fkdiff.smc.combinators.values import ValueEstimate, as_estimate
from fkdiff.smc.model import Model
from fkdiff.smc.wrapped import Wrapped

DEPTH = 3.0  # nats below the median: relative sd of Ẑ 0.21 there, 0.17 at 1, 1.5 at 10 where r = −∞ below 2 on N(0, 1)


class Carrying(NamedTuple):
    """One particle under a reward.

    Attributes:
        inner: The inner model's particle.
        statistic: m_k.
        cumulative: a_k, what the weights hold of the reward so far.
        ramp: ρ_k, equal for all.
        seen: How many value estimates are in m_k.
    """

    inner: PyTree
    statistic: Array
    cumulative: Array
    ramp: Array
    seen: Array


class Examples(NamedTuple):
    """What a host reward is asked about: (N, …), or (N, num, …) for num > 0."""

    examples: PyTree
    num: int


class Rewarded(Wrapped):
    """See `rewarded`.

    Attributes:
        inner: The model within.
        reward: r of one example; a `HostReward`; or None, where the inner model's guidance has a value of its own.
        strength: λ.
        ramp: ρ over the progress along the path, or an `AdaptiveRamp`.
        value_estimate: R_k from where a particle is.
        depth: How far below the median an estimate of −∞ lies, in nats.
        potential: A key of `POTENTIALS`.
        chunk: Examples per call of the reward.
    """

    inner: Model
    reward: Callable[[Any], Any] | None
    strength: Array
    ramp: Callable[[Array], Array]
    value_estimate: ValueEstimate
    depth: Array
    potential: str = eqx.field(static=True)
    chunk: int | None = eqx.field(static=True, default=None)

    def inside(self, particles: Carrying) -> PyTree:
        return particles.inner

    def around(self, inner: PyTree, particles: Carrying) -> Carrying:
        return particles._replace(inner=inner)

    def within(self, inner: Model) -> Rewarded:
        return dataclasses.replace(self, inner=inner)

    def chunked(self, chunk):
        return dataclasses.replace(self, inner=self.inner.chunked(chunk), chunk=chunk)

    @property
    def asks_host(self) -> bool:
        return self.inner.asks_host or isinstance(self.reward, HostReward)

    @property
    def transportable(self) -> bool:
        """A mean of cumulative potentials is not that of a mean."""
        return False

    @property
    def looks(self) -> bool:
        """Whether the inner model is asked where its particles will end."""
        return self.potential != "terminal" and self.reward is not None and self.value_estimate.looks

    def initial(self, key, num_particles, t):
        inner, log_weights, info = self.inner.initial(key, num_particles, t)
        zero = jnp.zeros_like(log_weights)
        return Carrying(inner, zero, zero, zero, zero), log_weights, self._with_looks(info)

    def move(self, key, particles, log_weights, t0, t1):
        moved, increments, info = super().move(key, particles, log_weights, t0, t1)
        return moved, increments, self._with_looks(info)

    def _with_looks(self, info):
        evaluations, jvps = self.inner.estimate_cost if self.looks else (0, 0)
        return info._replace(evaluations=info.evaluations + evaluations, jvps=info.jvps + jvps)

    # The question: λ r of examples, or the examples themselves where the host answers -------------------------

    def question(self, key, particles, t, last):
        inner = self.inner.question(key, particles.inner, t, last)
        return inner, (self._at_the_end if last else self._on_the_way)(key, particles.inner, t)

    def _at_the_end(self, key, inner, t):
        if self.reward is None:
            return self.inner.value(inner, t, True)
        return self._asked(self.inner.extract(inner, t), 0)

    def _on_the_way(self, key, inner, t):
        if self.potential == "terminal":
            return None
        if self.reward is None:
            return self.inner.value(inner, t, False)
        if not self.value_estimate.looks:
            return chunked_vmap(lambda x: self.value_estimate.at(x, t), self.chunk)(self.inner.position(inner))
        num = self.value_estimate.count
        return self._asked(self.inner.estimate(key, inner, t, num), num)

    def _asked(self, examples: PyTree, num: int) -> Array | Examples:
        if isinstance(self.reward, HostReward):
            return Examples(examples, num)
        each = self.scaled if num == 0 else jax.vmap(self.scaled)
        return chunked_vmap(lambda some: self._one_value(each(some), num), self.chunk)(examples)

    def _one_value(self, rewards: Array, num: int) -> Array:
        return self.value_estimate.combined(rewards) if num else rewards

    def scaled(self, example: PyTree) -> Array:
        """λ r of one example."""
        return self.strength * scalar_reward(self.reward, example)  # type: ignore[arg-type]

    def answer(self, question):
        inner, own = question
        if isinstance(own, Examples):
            own = self._answered(own)
        return self.inner.answer(inner), own

    def _answered(self, asked: Examples) -> Array:
        """λ r of a batch, on the host."""
        flat = asked.examples
        if asked.num:
            flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), flat)
        rewards = self.strength * jnp.asarray(self.reward.batch(flat), self.strength.dtype)  # type: ignore[union-attr]
        return self._one_value(rewards.reshape(-1, asked.num), asked.num) if asked.num else rewards

    # The answer: potentials ------------------------------------------------------------------------------------

    def settle(self, particles, log_weights, answers, t, last):
        inner, more = self.inner.settle(particles.inner, log_weights, answers[0], t, last)
        particles, own = self.around(inner, particles), answers[1]
        if own is None:
            return particles, more
        own = own.astype(log_weights.dtype)
        if last:
            return particles, more + (own - particles.cumulative)
        statistic = POTENTIALS[self.potential](particles.statistic, floored(own, self.depth), particles.seen)
        ramp = self._ramp(log_weights + more - particles.cumulative, statistic, particles.ramp[0], t)
        # At ρ = 0 nothing is in the weights, whatever the estimate is: 0 · ∞ is NaN.
        cumulative = jnp.where(ramp == 0, jnp.zeros_like(statistic), ramp * statistic)
        if self.reward is None:
            inner = self.inner.aimed(inner, ramp)
        increments = more + (cumulative - particles.cumulative)
        ones = jnp.ones_like(cumulative)
        return Carrying(inner, statistic, cumulative, ones * ramp, particles.seen + 1), increments

    def _ramp(self, log_weights: Array, statistics: Array, before: Array, t: Array) -> Array:
        ramp, most = self.ramp, jnp.asarray(self.ramp(self.progress(t)), log_weights.dtype)
        return ramp.solved(log_weights, statistics, before, most) if isinstance(ramp, AdaptiveRamp) else most

    # A pilot's ramp ---------------------------------------------------------------------------------------------

    def record(self, key, particles, log_weights, t):
        return particles.ramp[0], self.inner.record(key, particles.inner, log_weights, t)

    def frozen(self, pilot):
        ramps, records = pilot.records
        inner, ramp = self.inner.frozen(pilot._replace(records=records)), self.ramp
        if isinstance(ramp, AdaptiveRamp):
            ramp = TabulatedRamp(self.progress(pilot.times), ramps)
        same = inner is self.inner and ramp is self.ramp
        return self if same else dataclasses.replace(self, inner=inner, ramp=ramp)


def rewarded(
    model: Model,
    reward: Callable[[Any], Array] | HostReward,
    ramp: Callable[[Array], Array] | AdaptiveRamp = linear_ramp,
    potential: str | None = None,
    *,
    strength: Scalar = 1.0,
    estimate: str | ValueEstimate = "clean",
    depth: Scalar = DEPTH,
    chunk: int | None = None,
) -> Rewarded:
    """`model`, its last particles weighted by e^{strength · reward}: any model, any reward.

        model = fkdiff.smc.rewarded(fkdiff.correctors.anneal(pred, 2.0).feynman_kac(), reward)

    The reward guides on the way, through an estimate of its value at the end, and counts exactly at the end: the law
    is right at any number of steps, for every potential, ramp and estimate, and Ẑ is unbiased for every N if the
    model's is. The reward need not be differentiable, and may be −∞: on the way an estimate of −∞ counts as the median
    of the population's finite ones minus `depth`, at the end it is weight zero.

    Args:
        model: Any `Model`: a corrector's, a solver's chain, a posterior, tokens, another rewarded one.
        reward: `reward(x) -> scalar` in nats for ONE example, in the form of one row of `out.particles`; any JAX
            function or pytree. A Python function of a whole batch by `fkdiff.steering.host`, for `fkdiff.drive`.
        ramp: ρ = `ramp(progress)`, with progress from 0 to 1 along the path. Or
            `fkdiff.steering.adaptive_ramp(ess)`: as fast as the ESS allows.
        potential: The statistic m in the cumulative potential ρ_k m_k. "difference": m_k = R_k; "max": the largest R so
            far; "sum": the mean of all R so far; "terminal": no potential before the end. By default "difference", and
            "terminal" where the model's moves leave each of its laws invariant (`tempering`): there a reward belongs in
            the density, and a potential on the way adds noise (sd of log Z 0.171 with a ramp, 0.083 at the end, and
            0.028 in the density).
        strength: λ; a leaf.
        estimate: R_k. "clean": the reward at the model's one estimate of the end; "draws" or `clean_draws(num)`:
            log-mean-exp over draws of it; `learned(value)`.
        depth: Of −∞ on the way, in nats below the median; a leaf.
        chunk: Examples per call of the reward.

    Returns:
        `Rewarded`, a model for every driver and combinator.

    Raises:
        FkdiffError: An argument is wrong; inside a run, a reward that is no number, or a model that cannot estimate.

    Cost: the model's, plus its `estimate` and one reward per particle and step (none of either for "terminal").

    Gradients: none through resampling.

    References: Singhal et al. (2025), the four potentials, with weights carried between resamplings and the final
    reward settled in each; Del Moral (2004), section 2.4, for potentials that depend on the past.
    """
    model = arguments.check_model(model, host=True)
    require(callable(reward), f"reward={reward!r} is not a function; pass reward(x) -> one number in nats.")
    require(callable(ramp), f"ramp={ramp!r} is not a function; pass ramp(progress), from 0 at t_min to 1 at t_max.")
    potential = model.default_potential if potential is None else potential
    choose("potential", potential, POTENTIALS)
    if potential != "terminal":
        model.progress(jnp.zeros(()))  # refuses now what would fail inside a run
    return Rewarded(
        model,
        reward,
        number("strength", strength, action="it multiplies the reward"),
        ramp,
        as_estimate(estimate),
        number("depth", depth, 0.0, action="nats below the median of the population"),
        potential,
        chunk_size(chunk),
    )


def guided(model: Model, ramp: Callable[[Array], Array] | AdaptiveRamp) -> Rewarded:
    """A model whose guidance carries a value of its own (`Model.value`) as the cumulative potential."""
    one = number("one", 1.0)
    return Rewarded(model, None, one, ramp, as_estimate("clean"), number("depth", DEPTH), "difference")
