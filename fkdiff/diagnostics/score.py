"""Is a learned score the score of anything, and of the same thing at all times?

Weights of a corrector certify nothing about a learned model: at β = 1 they are flat for any score. Two tests do. A
score is a gradient only if its Jacobian is symmetric; and scores of one path of densities satisfy, with the velocity
v = c x + κ s,

    ∂_t s + ∇(∇·v + v·s) = 0,

the gradient of the log-form of the continuity equation.

References: Lai et al. (2023), eq. 10, the score Fokker–Planck equation; Chao et al. (2022) for conservativity.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, Scalar, chunk_size, chunked_vmap, expect, one_key, particle_keys, require, whole
from fkdiff.core.host import intended_transfers
from fkdiff.prediction import Predictor

EXACT_UP_TO = 16  # dimensions in which a full basis is affordable


class Residual(NamedTuple):
    """A residual per example and what it is to be compared with, each of shape (n,).

    Attributes:
        value: Norm of what should vanish.
        scale: Norm of its largest part.
    """

    value: Array
    scale: Array

    @property
    def relative(self) -> Array:
        """value / scale, (n,): 0 for an exact score, of order 1 for a field that is none."""
        return self.value / self.scale


@intended_transfers
def fokker_planck(
    pred: Predictor, x: Array, t: Scalar, key: Key | None = None, num_probes: int = 1, chunk: int | None = None
) -> Residual:
    """|∂_t s + ∇(∇·v + v·s)| beside |∂_t s|, at every x: zero for the scores of one path of densities.

    Args:
        pred: A predictor.
        x: Points, (n, *pred.shape), such as noised data at t.
        t: Time in [pred.path.t_min, pred.path.t_max].
        key: A typed key for Rademacher probes of the divergence, needed above 16 dimensions; without one the divergence
            is exact. A probe's noise adds to the residual of every point: compare models with the same key.
        num_probes: Probes per example.
        chunk: Examples per call.

    Returns:
        `Residual`, (n,).

    Raises:
        FkdiffError: x does not hold examples of the model, or a key is missing in many dimensions.

    Cost: per example the gradient of d (or `num_probes`) jvps, one gradient of v·s and one jvp in time.
    """
    x, keys, size = _points(pred, x, key, num_probes)
    t = jnp.asarray(t, jnp.result_type(float))
    return _fokker_planck(pred, x, t, keys, num_probes if key is not None else size, chunk_size(chunk))


@eqx.filter_jit
def _fokker_planck(pred, x, t, keys, num_probes, chunk) -> Residual:
    def one(point, key):
        def rate(z):
            """∇·v + v·s at z."""
            both = pred(z, t)
            bend = lambda u: jnp.vdot(u, jax.jvp(lambda y: pred(y, t).velocity, (z,), (u,))[1])  # noqa: E731
            bends = jax.vmap(bend)(_vectors(key, z, num_probes)).sum()
            return bends + jnp.vdot(both.velocity, both.score)

        drift = jax.jvp(lambda time: pred(point, time).score, (t,), (jnp.ones_like(t),))[1]
        return jnp.linalg.norm((drift + jax.grad(rate)(point)).ravel()), jnp.linalg.norm(drift.ravel())

    return Residual(*chunked_vmap(one, chunk)(*_paired(x, keys)))


@intended_transfers
def conservativity(
    pred: Predictor, x: Array, t: Scalar, key: Key | None = None, num_probes: int = 1, chunk: int | None = None
) -> Residual:
    """‖J − Jᵀ‖_F beside ‖J‖_F, J the Jacobian of the score at every x: zero for a gradient field.

    Args: as `fokker_planck`. With a key, E|(J − Jᵀ)u|² = ‖J − Jᵀ‖_F² for Rademacher u, averaged over the probes of one
    example before the root: average the squares over examples for an unbiased figure.

    Returns:
        `Residual`, (n,).

    Cost: per example d (or `num_probes`) jvps and vjps.
    """
    x, keys, size = _points(pred, x, key, num_probes)
    t = jnp.asarray(t, jnp.result_type(float))
    return _conservativity(pred, x, t, keys, num_probes if key is not None else size, chunk_size(chunk))


@eqx.filter_jit
def _conservativity(pred, x, t, keys, num_probes, chunk) -> Residual:
    def one(point, key):
        def score(y):
            return pred(y, t).score

        _, back = jax.vjp(score, point)

        def both(u):
            forward, backward = jax.jvp(score, (point,), (u,))[1], back(u)[0]
            return jnp.sum((forward - backward) ** 2), jnp.sum(forward**2)

        twist, whole_of = jax.vmap(both)(_vectors(key, point, num_probes))
        return jnp.sqrt(twist.sum()), jnp.sqrt(whole_of.sum())

    return Residual(*chunked_vmap(one, chunk)(*_paired(x, keys)))


def _vectors(key: Key | None, like: Array, count: int) -> Array:
    """The full basis, or `count` probes scaled so that sums over them estimate a trace."""
    if key is None:
        return jnp.eye(like.size, dtype=like.dtype).reshape(like.size, *like.shape)
    scale = jnp.sqrt(jnp.asarray(count, like.dtype))
    return jax.random.rademacher(key, (count, *like.shape), like.dtype) / scale


def _points(pred: Predictor, x: Array, key: Key | None, num_probes: int) -> tuple[Array, Array | None, int]:
    """Points, a key for each if there is one, and d."""
    expect("pred", pred, Predictor, "pass a Predictor, such as fkdiff.Parameterization.predictor gives")
    whole("num_probes", num_probes)
    require(not pred.coupled, "pred was trained on coupled pairs of noise and data and has no score to examine.")
    x = jnp.asarray(x)
    real = jnp.issubdtype(x.dtype, jnp.floating) or jnp.issubdtype(x.dtype, jnp.integer)
    require(bool(real), f"x has dtype {x.dtype} and must hold real numbers.")
    x = x.astype(jnp.result_type(float))  # derivatives of half-precision points are noise
    require(
        x.ndim >= 1 and x.shape[1:] == pred.shape,
        f"x has shape {x.shape} and this model takes examples of shape {pred.shape}; pass a batch of them.",
    )
    size = int(x[0].size)
    require(
        key is not None or size <= EXACT_UP_TO,
        f"d={size} and no key: an exact divergence needs {size} derivatives per point; pass a key for probes.",
    )
    return x, None if key is None else particle_keys(one_key(key), len(x)), size


def _paired(x: Array, keys: Array | None) -> tuple:
    """What is mapped over: None would not be, so it rides as an empty tree."""
    return x, keys
