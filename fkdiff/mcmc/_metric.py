"""The inverse mass M⁻¹ = C Cᵀ as its factor C: none, a diagonal or a matrix.

Kernels move whitened noise and whitened velocities v ~ N(0, I): x moves along C v and v along Cᵀ ∇log p. No inverse and
no determinant is needed, and the kinetic energy is ½|v|².
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import FkdiffError, PyTree, concrete, given, raveled, require, traced
from fkdiff.mcmc.trees import described


class Metric(eqx.Module):
    """C of M⁻¹ = C Cᵀ.

    Attributes:
        factor: None (the identity), a diagonal (a pytree like the position, or flat) or a lower triangle (d, d).
        matrix: Whether it is a matrix.
    """

    factor: PyTree
    matrix: bool = eqx.field(static=True)

    def check(self, position: PyTree) -> None:
        """Refuses a position of another size; shapes only."""
        if self.factor is None or self._leafwise(position):
            return
        size = sum(jnp.size(leaf) for leaf in jax.tree.leaves(position))
        fits = eqx.is_array(self.factor) and self.factor.shape == ((size, size) if self.matrix else (size,))
        require(
            fits,
            f"inverse_mass is {described(self.factor)} and the position {described(position)}, of {size} numbers; pass "
            f"the diagonal like the position or of shape ({size},), or a matrix of shape ({size}, {size}).",
        )

    def forward(self, v: PyTree) -> PyTree:
        """C v."""
        return self._apply(v, transposed=False)

    def back(self, gradient: PyTree) -> PyTree:
        """Cᵀ g."""
        return self._apply(gradient, transposed=True)

    def _apply(self, tree: PyTree, transposed: bool) -> PyTree:
        if self.factor is None:
            return tree
        if self._leafwise(tree):
            return jax.tree.map(lambda c, leaf: c.astype(leaf.dtype) * leaf, self.factor, tree)
        flat, unravel = raveled(tree)
        factor = self.factor.astype(flat.dtype)
        return unravel((factor.T if transposed else factor) @ flat if self.matrix else factor * flat)

    def _leafwise(self, tree: PyTree) -> bool:
        return not self.matrix and (
            jax.tree.structure(self.factor) == jax.tree.structure(tree)
            and all(
                jnp.shape(c) == jnp.shape(leaf)
                for c, leaf in zip(jax.tree.leaves(self.factor), jax.tree.leaves(tree), strict=True)
            )
        )


def metric(inverse_mass: PyTree | Metric | None) -> Metric:
    """The factor of an inverse mass, which is about the covariance of the target.

    Args:
        inverse_mass: None; a diagonal, like the position or flat; or a matrix (d, d) over the flattened position. One
            square array of rank 2 is a matrix: where the position is itself a square array, give its diagonal flat.

    Raises:
        FkdiffError: It is not positive definite, where it is known now. Where it is traced, the factor is NaN and
            every move is rejected as divergent.
    """
    if inverse_mass is None or isinstance(inverse_mass, Metric):
        return Metric(None, False) if inverse_mass is None else inverse_mass
    if isinstance(inverse_mass, list | tuple) and all(np.ndim(leaf) == 0 for leaf in jax.tree.leaves(inverse_mass)):
        inverse_mass = np.asarray(inverse_mass)  # nested lists of numbers
    try:
        with given():
            matrices = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=jnp.result_type(float)), inverse_mass)
    except (TypeError, ValueError):
        kind = type(inverse_mass).__name__
        raise FkdiffError(f"inverse_mass is a {kind} and must hold real numbers; pass arrays, or None.") from None
    matrix = eqx.is_array(matrices) and matrices.ndim == 2 and matrices.shape[0] == matrices.shape[1]
    if not traced(matrices):
        _definite(matrices, matrix)
    with given():
        return Metric(jnp.linalg.cholesky(matrices) if matrix else jax.tree.map(jnp.sqrt, matrices), matrix)


def _definite(known: PyTree, matrix: bool) -> None:
    leaves = [np.asarray(concrete(leaf), dtype=np.float64) for leaf in jax.tree.leaves(known)]
    fine = all(bool(np.all(np.isfinite(leaf))) for leaf in leaves)
    if fine and matrix:
        symmetric = np.allclose(leaves[0], leaves[0].T, rtol=1e-4, atol=1e-6 * float(np.abs(leaves[0]).max()))
        fine = symmetric and bool(np.linalg.eigvalsh(leaves[0]).min() > 0)
    elif fine:
        fine = all(bool(np.all(leaf > 0)) for leaf in leaves)
    require(
        fine,
        "inverse_mass is not positive definite; pass a covariance of the target, such as "
        "fkdiff.mcmc.mass_from_window(positions).",
    )
