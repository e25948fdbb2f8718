"""Langevin moves at frozen time: after a resampling under a deterministic flow, duplicates would stay identical.

In y = (x − M)/√V a move is y* = ηy + (1 − η)F + √(1 − η²) ξ with F = √V ∇log p̃ + y, which is exact for the Gaussian
phase whatever η is. It is accepted with the exact ratio where every density is known, and otherwise with the energy
difference replaced by the trapezoid ½(F + F*)·(y* − y), whose error is cubic in the jump. Weights are untouched.

Moves alternate between the scale of the reference and that of the noise: the first mixes while the noise dominates,
the second moves at all once the law has sharpened.

References:
    Cotter, Roberts, Stuart and White (2013), Crank–Nicolson Langevin.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, deciding
from fkdiff.correctors.rate import dot, local, weighted_sum

REFUSAL = (
    "a derivative flows through the Langevin moves that follow a resampling, whose acceptances it would leave out; "
    "build the model with feynman_kac(refresh=0) or with noise, or use fkdiff.gradients.log_normalizer (Fisher's "
    "identity) and fkdiff.gradients.expectation."
)

ETA = 0.904837418  # e^{−0.1}: a tenth of the relaxation time per move


class Place(NamedTuple):
    """A position with its force ∇log p̃ and, where known, its log-density."""

    x: Array
    score: Array
    log_density: Array


def visit(target, x: Array, t: Array) -> Place:
    """Evaluates one position. Cost: one evaluation per factor, and a reverse pass per tilt."""
    here = local(target, x, t, None, "none", True)
    score = weighted_sum(target.betas, here.scores) + here.tilt.gradient
    known = target.log_density(x, t) if target.knows_density else jnp.zeros((), x.dtype)
    return Place(x, score, known)


def move(target, key: Key, place: Place, mean: Array, variance: Array, t: Array) -> Place:
    """One Metropolis-adjusted move preconditioned by N(mean, variance I)."""
    key_noise, key_accept = jax.random.split(key)
    root = jnp.sqrt(variance)

    def standardised(p: Place) -> tuple[Array, Array]:
        y = (p.x - mean) / root
        return y, root * p.score + y

    y, force = standardised(place)
    xi = jax.random.normal(key_noise, y.shape, y.dtype)
    proposed = visit(target, mean + root * (ETA * y + (1 - ETA) * force + jnp.sqrt(1 - ETA**2) * xi), t)
    new, new_force = standardised(proposed)
    if target.knows_density:
        energy = proposed.log_density - place.log_density + 0.5 * (dot(new, new) - dot(y, y))
    else:
        energy = 0.5 * dot(force + new_force, new - y)
    log_ratio = energy + (dot(y - ETA * new, new_force) - dot(new - ETA * y, force)) / (1 + ETA)
    log_ratio -= 0.5 * (1 - ETA) / (1 + ETA) * (dot(new_force, new_force) - dot(force, force))
    # A comparison with NaN is false, so that a proposal the model cannot judge is rejected.
    accept = -jax.random.exponential(key_accept, dtype=y.dtype) < deciding(log_ratio, REFUSAL)
    return jax.tree.map(lambda a, b: jnp.where(accept, a, b), proposed, place)


def langevin(target, key: Key, x: Array, mean: Array, variances: Array, t: Array) -> Array:
    """As many moves as there are `variances`, at one particle and time t."""

    def step(place, i):
        return move(target, jax.random.fold_in(key, i), place, mean, variances[i], t), None

    place, _ = jax.lax.scan(step, visit(target, x, t), jnp.arange(variances.shape[0]))
    return place.x
