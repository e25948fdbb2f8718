"""Linear operators of inverse problems: y = A x for ONE example of any shape.

An operator is its dense matrix over the flattened example and the singular value decomposition of it, computed once on
the host in double precision: A = U diag(s) Vᵀ. Both are leaves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, concrete, require, whole

MOST = 4096  # coordinates of an example or of an observation: the decomposition takes O(n³)


class LinearOperator(eqx.Module):
    """A, from examples of one shape to observations of another.

    Attributes:
        matrix: A over flattened examples, (m, d).
        left: U, (m, m), orthogonal.
        singular: s, (m,), decreasing; zeros beyond the rank.
        right: Vᵀ, (m, d): orthonormal rows, then rows of zeros where m > d.
        shape: Shape of one example; d is its size.
        observed: Shape of one observation; m is its size.
    """

    matrix: Array
    left: Array
    singular: Array
    right: Array
    shape: tuple[int, ...] = eqx.field(static=True)
    observed: tuple[int, ...] = eqx.field(static=True)

    def apply(self, x: Array) -> Array:
        """A x: an example to an observation.

        Raises:
            FkdiffError: `x` has another shape.
        """
        x = jnp.asarray(x)
        require(
            x.shape == self.shape,
            f"x has shape {x.shape} and this operator takes ONE example of shape {self.shape}; for a batch use "
            "jax.vmap(operator.apply).",
        )
        return (self.matrix @ x.reshape(-1)).reshape(self.observed)

    def adjoint(self, y: Array) -> Array:
        """Aᵀ y: an observation to an example.

        Raises:
            FkdiffError: `y` has another shape.
        """
        y = jnp.asarray(y)
        require(
            y.shape == self.observed,
            f"y has shape {y.shape} and this operator gives observations of shape {self.observed}.",
        )
        return (self.matrix.T @ y.reshape(-1)).reshape(self.shape)


def _operator(dense: np.ndarray, shape: tuple[int, ...], observed: tuple[int, ...]) -> LinearOperator:
    rows, columns = dense.shape
    require(
        max(rows, columns) <= MOST,
        f"this operator would be a dense matrix of {rows} × {columns}; at most {MOST} coordinates can be decomposed.",
    )
    left, values, right = np.linalg.svd(dense, full_matrices=rows > columns)
    rank = len(values)
    singular, rotation = np.zeros(rows), np.zeros((rows, columns))
    singular[:rank], rotation[:rank] = values, right[:rank]
    leaf = jnp.result_type(float)
    return LinearOperator(
        matrix=jnp.asarray(dense, leaf),
        left=jnp.asarray(left, leaf),
        singular=jnp.asarray(singular, leaf),
        right=jnp.asarray(rotation, leaf),
        shape=shape,
        observed=observed,
    )


def _known(argument: str, value: Any) -> np.ndarray:
    known = concrete(value)
    require(known is not None, f"{argument} is being traced; make operators outside jit, they are decomposed there.")
    found = np.asarray(known)
    require(found.dtype.kind in "fiub", f"{argument} has dtype {found.dtype} and must hold real numbers.")
    return found


def _sizes(argument: str, shape: Any) -> tuple[int, ...]:
    require(isinstance(shape, Sequence), f"{argument}={shape!r} must be the shape of one example, such as (8, 8).")
    return tuple(whole(f"{argument}[{i}]", size) for i, size in enumerate(shape))


def matrix(A: Any, shape: Sequence[int] | None = None) -> LinearOperator:
    """Any matrix.

    Args:
        A: Shape (m, d), finite.
        shape: Shape of one example, of size d; (d,) by default.

    Raises:
        FkdiffError: A is not a matrix, not finite, or `shape` has another size.
    """
    dense = _known("A", A).astype(np.float64)
    require(dense.ndim == 2 and dense.size > 0, f"A has shape {dense.shape}; pass (m, d), one row per observed number.")
    require(bool(np.isfinite(dense).all()), "A holds NaN or infinity; every entry must be a finite number.")
    sizes = (dense.shape[1],) if shape is None else _sizes("shape", shape)
    require(
        math.prod(sizes) == dense.shape[1],
        f"A has {dense.shape[1]} columns and shape={sizes} holds {math.prod(sizes)} numbers; they must agree.",
    )
    return _operator(dense, sizes, (dense.shape[0],))


def mask(keep: Any) -> LinearOperator:
    """The kept coordinates, in order: inpainting.

    Args:
        keep: Booleans of the shape of one example, at least one of them True. Observations have shape (m,), m of them
            being True.

    Raises:
        FkdiffError: Not Boolean, or nothing is kept.
    """
    kept = _known("keep", keep)
    require(kept.dtype == np.bool_, f"keep has dtype {kept.dtype} and must be Boolean: pass keep > 0.5.")
    require(bool(kept.any()), "keep is False everywhere, so nothing is observed; keep at least one coordinate.")
    rows = np.flatnonzero(kept)
    return _operator(np.eye(kept.size)[rows], kept.shape, (len(rows),))


def blur(kernel: Any, shape: Sequence[int]) -> LinearOperator:
    """Convolution with a kernel, zero outside: y_i = Σ_j kernel_j x_{i − j}, j counted from the middle.

    Args:
        kernel: Odd sizes, as many axes as are blurred: the first ones of `shape`; the others (channels) are left alone.
        shape: Shape of one example, and of one observation.

    Raises:
        FkdiffError: The kernel has an even size, more axes than the example, or is not finite.
    """
    weights, sizes = _known("kernel", kernel).astype(np.float64), _sizes("shape", shape)
    require(
        1 <= weights.ndim <= len(sizes) and all(n % 2 for n in weights.shape),
        f"kernel has shape {weights.shape}; pass odd sizes along at most the {len(sizes)} axes of shape={sizes}.",
    )
    require(bool(np.isfinite(weights).all()), "kernel holds NaN or infinity; every entry must be a finite number.")
    places = np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), axis=1)
    dense = np.zeros((len(places), len(places)))
    for index in np.ndindex(*weights.shape):
        offset = np.zeros(len(sizes), int)
        offset[: weights.ndim] = np.subtract(index, np.asarray(weights.shape) // 2)
        source = places - offset
        inside = np.flatnonzero(((source >= 0) & (source < np.asarray(sizes))).all(axis=1))
        dense[inside, np.ravel_multi_index(tuple(source[inside].T), sizes)] += weights[index]
    return _operator(dense, sizes, sizes)


def downsample(factor: int, shape: Sequence[int]) -> LinearOperator:
    """Means of blocks: super-resolution by `factor` along the first two axes (the first of a one-dimensional example).

    Args:
        factor: Side of a block; it divides the axes that it shortens.
        shape: Shape of one example; axes beyond the second (channels) are left alone.

    Raises:
        FkdiffError: The factor does not divide the axes.
    """
    factor, sizes = whole("factor", factor), _sizes("shape", shape)
    shortened = min(2, len(sizes))
    require(
        shortened > 0 and all(n % factor == 0 for n in sizes[:shortened]),
        f"factor={factor} does not divide the axes {sizes[:shortened]} of shape={sizes}.",
    )
    observed = tuple(n // factor for n in sizes[:shortened]) + sizes[shortened:]
    places = np.unravel_index(np.arange(math.prod(sizes)), sizes)
    target = tuple(p // factor for p in places[:shortened]) + tuple(places[shortened:])
    dense = np.zeros((math.prod(observed), math.prod(sizes)))
    dense[np.ravel_multi_index(target, observed), np.arange(dense.shape[1])] = factor**-shortened
    return _operator(dense, sizes, observed)
