"""Annealed importance sampling by unadjusted Langevin steps: exact weights at any step size, differentiable throughout.

From the prior to prior · likelihood over temperatures λ_0 = 0 < … < λ_K = 1, with γ_λ = prior · likelihood^λ:

    M_k:    x' = x + h ∇log γ_λ(x) + √(2h) ξ,    λ = λ_k
    G_k  =  γ_{λ_k}(x') N(x; x' + h ∇log γ_λ(x'), 2h) / (γ_{λ_{k−1}}(x) N(x'; x + h ∇log γ_λ(x), 2h))

The step back stands for the reversal that an exact kernel would have. E Ẑ = Z for every h, and E log Ẑ ≤ log Z: the
*annealed bound*, whose derivative in step sizes and temperatures is pathwise, since nothing is accepted or rejected.

References: Doucet, Grathwohl, Matthews and Strathmann (2022), eq. 9; Thin et al. (2021); Geffner and Domke (2021).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import (
    Array,
    Key,
    LogDensity,
    PyTree,
    Scalar,
    chunked_vmap,
    concrete,
    log_density,
    number,
    require,
    stream,
    wide_dtype,
)
from fkdiff.core.density import Evaluation
from fkdiff.core.keys import Use
from fkdiff.smc.one_particle import OneParticle


class Walk(NamedTuple):
    """One particle: a position and both terms of the density there, with gradients."""

    position: PyTree
    evaluation: Evaluation


class Unadjusted(OneParticle):
    """See `unadjusted`.

    Attributes:
        density: log prior and log likelihood, as terms.
        sample: `sample(key) -> position` from the prior.
        step_size: h at equally spaced times in [0, 1], (M,).
    """

    density: LogDensity
    sample: Callable[[Key], PyTree]
    step_size: Array
    chunk: int | None = eqx.field(static=True, default=None, kw_only=True)

    @property
    def time_range(self) -> tuple[Array, Array]:
        """Times are temperatures."""
        return jnp.zeros(()), jnp.ones(())

    @property
    def cost(self) -> tuple[int, int]:
        return 1, 0

    def shown(self, particle: Walk) -> PyTree:
        """The position."""
        return particle.position

    def estimated(self, key: Key, particle: Walk, t: Array, num: int) -> PyTree:
        """Where a particle stands is the best estimate of where it ends; draws are copies of it."""
        if num == 0:
            return particle.position
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num, *leaf.shape)), particle.position)

    def position(self, particles: Walk) -> PyTree:
        return particles.position

    def replaced(self, particles: Walk, positions: PyTree, t: Array) -> Walk:
        """One evaluation each."""
        return chunked_vmap(lambda x: Walk(x, self.density.evaluate(x)), self.chunk)(positions)

    def at(self, t: Array) -> LogDensity:
        """log γ_λ at λ = t."""
        return LogDensity(self.density.terms, (jnp.ones_like(t), t))

    def step(self, t: Array) -> Array:
        """h at time t, between its knots linear."""
        count = self.step_size.shape[0]
        return self.step_size[0] if count == 1 else jnp.interp(t, jnp.linspace(0.0, 1.0, count), self.step_size)

    def draw(self, key: Key):
        """An exact draw; G_0 = 1."""
        position = self.sample(key)
        evaluation = self.density.evaluate(position)
        return Walk(position, evaluation), jnp.zeros((), wide_dtype(evaluation.values))

    def propose(self, key: Key, particle: Walk, t0: Array, t1: Array) -> Walk:
        """One Langevin step at the new temperature."""
        h = self.step(t1)
        drifted = self._drifted(particle, t1)
        leaves, tree = jax.tree.flatten(drifted)
        keys = jax.random.split(stream(key, Use.NOISE), len(leaves))
        noisy = [
            x + jnp.sqrt(2 * h).astype(x.dtype) * jax.random.normal(k, x.shape, x.dtype)
            for k, x in zip(keys, leaves, strict=True)
        ]
        position = jax.tree.unflatten(tree, noisy)
        return Walk(position, self.density.evaluate(position))

    def log_potential(self, previous: Walk, particle: Walk, t0: Array, t1: Array) -> Array:
        """The density gained, times the ratio of the step back to the step made; Gaussian normalisers cancel."""
        gained = self.at(t1).value(particle.evaluation) - self.at(t0).value(previous.evaluation)
        back = _squared(previous.position, self._drifted(particle, t1), gained.dtype)
        forth = _squared(particle.position, self._drifted(previous, t1), gained.dtype)
        return gained + (forth - back) / (4 * self.step(t1)).astype(gained.dtype)

    def _drifted(self, walk: Walk, t: Array) -> PyTree:
        """x + h ∇log γ_λ(x)."""
        h = self.step(t)
        return jax.tree.map(lambda x, g: x + h.astype(x.dtype) * g, walk.position, self.at(t).grad(walk.evaluation))


def _squared(a: PyTree, b: PyTree, dtype: Any) -> Array:
    """|a − b|², in `dtype`."""
    parts = jax.tree.map(lambda x, y: jnp.sum((x.astype(dtype) - y.astype(dtype)) ** 2), a, b)
    return sum(jax.tree.leaves(parts), jnp.zeros((), dtype))


def unadjusted(
    log_prior: Callable[[PyTree], Array],
    log_likelihood: Callable[[PyTree], Array],
    sample_prior: Callable[[Key], PyTree],
    step_size: Scalar,
) -> Unadjusted:
    """Annealed importance sampling from the prior to prior · likelihood by Langevin steps without acceptances.

        model = fkdiff.smc.unadjusted(log_prior, log_likelihood, sample_prior, step_size=jnp.full(8, 0.1))
        out = fkdiff.run_smc(key, model, jnp.linspace(0.0, 1.0, 33), resample=fkdiff.smc.never)

    The grid holds the temperatures, and is a leaf to differentiate like the step sizes.

    Args:
        log_prior: log prior of ONE position, any pytree of real arrays. log Ẑ is that of ∫ prior · likelihood where it
            is normalised, else of the ratio of both integrals.
        log_likelihood: log likelihood, in nats.
        sample_prior: `sample_prior(key) -> position`, exactly the prior's law.
        step_size: h > 0, in the position's units squared: one for all, or (M,), at M equally spaced times in [0, 1].

    Returns:
        `Unadjusted`, a model; Ẑ is unbiased for any step sizes, which only decide its variance.

    Raises:
        FkdiffError: An argument is wrong.

    Cost: one evaluation with its gradient per particle and step.

    Gradients: pathwise, with `resample=fkdiff.smc.never`: E log Ẑ of one particle is a lower bound of log Z to climb.

    References: as above.
    """
    for name, given in (("log_prior", log_prior), ("log_likelihood", log_likelihood), ("sample_prior", sample_prior)):
        require(callable(given), f"{name}={given!r} is not a function.")
    leaf = jnp.atleast_1d(number("step_size", step_size, action="a length in the position's units squared", shape=None))
    require(
        leaf.ndim == 1 and leaf.size > 0, f"step_size has shape {leaf.shape}; pass one number or (M,), one per knot."
    )
    known = concrete(leaf)
    require(known is None or bool((known > 0).all()), f"step_size={known} must be positive; start at about 0.1.")
    return Unadjusted(log_density(log_prior, log_likelihood), sample_prior, leaf)
