"""Inverse masses from draws: the variances, or the covariance, shrunk towards little."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from fkdiff.core import Array, PyTree, given, raveled, require, widened
from fkdiff.mcmc.states import real_position
from fkdiff.mcmc.trees import described

PRIOR_DRAWS, PRIOR_VARIANCE = 5.0, 1e-3


def mass_from_window(positions: PyTree, dense: bool = False) -> PyTree:
    """The inverse mass that whitens a window of a chain, shrunk as if 5 more draws had variance 10⁻³.

        M⁻¹ = n/(n + 5) · S + 5/(n + 5) · 10⁻³ I,    S the sample variances or covariance

    Args:
        positions: n ≥ 2 draws along the leading axis of every leaf, such as those collected by `run_chain`; of many
            chains, flattened to one axis.
        dense: Whether the covariance, (d, d) over the flattened position, or the variances, like a position.

    Returns:
        An `inverse_mass` for `mala`, `hmc`, `underdamped` and `random_walk`.

    Raises:
        FkdiffError: There are fewer than 2 draws, or leaves of different lengths.

    Cost: O(n d), or O(n d²).

    Gradients: pathwise.

    References: Stan Reference Manual, section on HMC algorithm parameters (regularised covariance).
    """
    positions, count = _draws(positions)
    with given():
        weights = jnp.full((count,), 1.0 / count, _dtype(positions))
        return _shrunk(positions, weights, weights.dtype.type(count), weights.dtype.type(count / (count - 1)), dense)


def mass_from_population(positions: PyTree, log_weights: Array, dense: bool = False) -> PyTree:
    """The inverse mass that whitens a weighted population, shrunk likewise with n its effective size 1/ΣW².

    Args:
        positions: N ≥ 2 positions along the leading axis of every leaf.
        log_weights: Unnormalised, shape (N,); positions of weight zero may be anything, NaN too.
        dense: Whether the covariance, (d, d) over the flattened position, or the variances, like a position.

    Returns:
        An `inverse_mass`; where every weight is zero, NaN, of which kernels make nothing but rejections.

    Raises:
        FkdiffError: The weights do not fit the positions.

    Cost: O(N d), or O(N d²).

    Gradients: pathwise.
    """
    positions, count = _draws(positions)
    with given():
        log_weights = jnp.asarray(log_weights)
    require(
        log_weights.shape == (count,),
        f"log_weights has shape {log_weights.shape} for {count} positions; pass one each.",
    )
    with given():
        weights = jax.nn.softmax(log_weights.astype(_dtype(positions)))
        squares = jnp.sum(weights**2)
        unbiased = 1 / jnp.maximum(1 - squares, jnp.finfo(weights.dtype).eps)
        alive = log_weights > -jnp.inf
        positions = jax.tree.map(
            lambda leaf: jnp.where(alive.reshape(alive.shape + (1,) * (leaf.ndim - 1)), leaf, 0), positions
        )
        return _shrunk(positions, weights, 1 / squares, unbiased, dense)


def _draws(positions: PyTree) -> tuple[PyTree, int]:
    positions = widened(real_position(positions))
    lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(positions)}
    fine = len(lengths) == 1 and lengths != {()} and min(lengths)[0] >= 2
    require(
        fine, f"positions are {described(positions)}; give every leaf the same leading axis of at least 2 positions."
    )
    return positions, min(lengths)[0]


def _dtype(positions: PyTree) -> Any:
    return raveled(jax.tree.map(lambda leaf: leaf[0], positions))[0].dtype


def _shrunk(positions: PyTree, weights: Array, size: Any, unbiased: Any, dense: bool) -> PyTree:
    flat = jax.vmap(lambda row: raveled(row)[0])(positions)
    centred = flat - jnp.einsum("n,nd->d", weights, flat)[None]
    keep, floor = size / (size + PRIOR_DRAWS), PRIOR_VARIANCE * PRIOR_DRAWS / (size + PRIOR_DRAWS)
    if dense:
        covariance = unbiased * jnp.einsum("n,ni,nj->ij", weights, centred, centred)
        return keep * covariance + floor * jnp.eye(flat.shape[1], dtype=flat.dtype)
    variance = unbiased * jnp.einsum("n,nd->d", weights, centred**2)
    unravel = raveled(jax.tree.map(lambda leaf: leaf[0], positions))[1]
    return unravel(keep * variance + floor)
