"""Resampling by entropic optimal transport: particles are moved to equal weights, not copied."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import (
    Array,
    FkdiffError,
    Key,
    PyTree,
    Scalar,
    concrete,
    number,
    require,
    squared_distances,
    whole,
)
from fkdiff.smc.resamplers import sinkhorn
from fkdiff.smc.resamplers.resampling import Resampled, Resampler


class OptimalTransport(Resampler):
    """See `optimal_transport`."""

    epsilon: Array
    tolerance: float = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    family = "transport"
    gradient = "biased"
    averages = True

    def given(self, particles: PyTree) -> Transport:
        """The resampler of these particles."""
        return Transport(self, _rows(particles))

    def __call__(self, key: Key, log_weights: Array) -> Resampled:
        raise FkdiffError(
            "optimal_transport moves particles, so call optimal_transport(...).given(particles); the engine does it "
            "itself."
        )


class Transport(Resampler):
    """`optimal_transport` of particles at `x`, flattened, (N, d)."""

    rule: OptimalTransport
    x: Array

    family = "transport"
    gradient = "biased"
    averages = True

    @property
    def plan_tolerance(self) -> float:
        """Of the rule."""
        return self.rule.tolerance

    def __call__(self, key: Key, log_weights: Array) -> Resampled:
        usable = jnp.isfinite(jnp.max(log_weights))
        count = log_weights.shape[0]
        log_a = jax.nn.log_softmax(jnp.where(usable, log_weights, 0.0).astype(self.x.dtype))
        log_b = jnp.full(count, -jnp.log(count), self.x.dtype)
        cost = squared_distances(self.x, self.x) / (
            2 * self.rule.epsilon.astype(self.x.dtype) * _variance(self.x, log_a)
        )
        solved: Any = sinkhorn.potentials(cost, log_a, log_b, self.rule.tolerance, self.rule.max_steps)
        shares = count * sinkhorn.plan(cost, solved).T
        identity = jnp.eye(count, dtype=shares.dtype)
        after = jnp.where(usable, jnp.zeros_like(log_weights), log_weights)
        return jnp.where(usable, shares, identity), after, usable


def _variance(x: Array, log_a: Array) -> Array:
    """Total variance of the weighted population, the unit of ε."""
    weights = jnp.exp(log_a)
    centred = x - (weights @ x)[None, :]
    total = weights @ jnp.sum(centred**2, axis=1)
    return jnp.where(total > 0, total, 1.0)


def _rows(particles: PyTree) -> Array:
    """All leaves side by side, (N, d)."""
    leaves: list[Any] = jax.tree.leaves(particles)
    for leaf in leaves:
        require(
            bool(jnp.issubdtype(leaf.dtype, jnp.floating)),
            f"a particle has a leaf of dtype {leaf.dtype}, which cannot be transported; resample by a scheme that "
            "copies, such as fkdiff.smc.systematic.",
        )
    return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)


def optimal_transport(epsilon: Scalar = 0.1, tolerance: float = 1e-4, max_steps: int = 1000) -> OptimalTransport:
    """x'_j = N Σ_i P_ij x_i, with P the entropic optimal transport plan from the weights to equal ones.

    The cost is ½|x − y|², in units of the population's total variance. Every x'_j is a mean of particles, so that the
    population's mean is kept to `tolerance`, if `max_steps` suffice, and its spread shrinks with ε: expectations and Ẑ
    are *biased*, and consistent as N → ∞ with ε → 0. Decorate it by `adaptive` to transport only when ESS is low.

    Args:
        epsilon: Regularisation, a leaf: small is nearly a permutation, and slow.
        tolerance: L1 error of the plan's row sums at which iterations stop.
        max_steps: Iterations at most; what they leave is an error of the weights and not of the plan's columns. A run
            in which they did not reach `tolerance` has the status UNFINISHED, and `fkdiff.check` warns.

    Returns:
        A resampler. Particles must be real arrays that may be averaged: positions, and no cumulative potentials.

    Raises:
        FkdiffError: An argument is wrong; inside a run, particles with integer leaves.

    Cost: O(N² (d + iterations)) time and O(N²) memory; O(N³) for a derivative, from the implicit function.

    Gradients: pathwise, of the biased estimate, through weights and particles. Its lineage is that of the largest
    shares, so that error bars of one run are lower bounds: use `fkdiff.replicate`.

    References: Reich (2013); Corenflos, Thornton, Deligiannidis and Doucet (2021), algorithm 3.
    """
    leaf = number("epsilon", epsilon, 0.0, action="a regularisation in units of the population's variance")
    known = concrete(leaf)
    require(known is None or bool(known > 0), f"epsilon={epsilon} must be positive; 0.1 is a usual choice.")
    require(
        isinstance(tolerance, int | float) and tolerance > 0,
        f"tolerance={tolerance!r} must be a positive number: the L1 error of the plan's row sums.",
    )
    return OptimalTransport(leaf, float(tolerance), whole("max_steps", max_steps, 1, "Sinkhorn iterations"))
