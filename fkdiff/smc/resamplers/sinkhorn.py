"""Entropic optimal transport between two discrete laws, with the derivative of its solution.

    P = argmin Σ P_ij C_ij + Σ P_ij log P_ij    over P ≥ 0 with row sums a and column sums b,
    P_ij = exp(f_i + g_j − C_ij)

C is a cost in units of the regularisation ε. The potentials solve the two marginal equations; their derivative is that
of the implicit function, one linear system, whatever number of iterations found them.

References: Cuturi (2013); Peyré and Cuturi (2019), sections 4.2 and 4.4; Luise et al. (2018) for the derivative.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from fkdiff.core import Array

Potentials = tuple[Array, Array]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def potentials(cost: Array, log_a: Array, log_b: Array, tolerance: float, max_steps: int) -> Potentials:
    """(f, g), by iterations in the log domain at a cost that grows to C.

    The last update is that of g, so that columns have the sums b to rounding; rows have a up to `tolerance` in L1,
    unless `max_steps` came first.

    Args:
        cost: C, (N, M), finite.
        log_a: Normalised log-weights of the rows, (N,); −inf is allowed.
        log_b: Of the columns, (M,), finite.
        tolerance: L1 error of the row sums.
        max_steps: Iterations at most.

    Cost: O(N M) per iteration; O(N M² + M³) once for a derivative.
    """
    first = 1 / jnp.maximum(jnp.max(cost), 1.0)

    def update(scale, g):
        f = _minus_soft_minimum(scale * cost - g[None, :], 1) + log_a
        return f, _minus_soft_minimum(scale * cost - f[:, None], 0) + log_b

    def unfinished(carry):
        step, scale, _, _, error = carry
        return (step < max_steps) & ~((scale == 1) & (error <= tolerance))

    def body(carry):
        step, scale, _, g, _ = carry
        larger = jnp.minimum(2 * scale, 1.0)
        # Potentials are costs: they grow with them.
        f, g = update(larger, g * (larger / scale))
        rows = jnp.exp(f[:, None] + g[None, :] - larger * cost).sum(axis=1)
        return step + 1, larger, f, g, jnp.abs(rows - jnp.exp(log_a)).sum()

    f, g = update(first, jnp.zeros_like(log_b))
    start = jnp.int32(1), first, f, g, jnp.asarray(jnp.inf, cost.dtype)
    _, _, f, g, _ = jax.lax.while_loop(unfinished, body, start)
    return f, g


def plan(cost: Array, solved: Potentials) -> Array:
    """P, (N, M)."""
    f, g = solved
    return jnp.exp(f[:, None] + g[None, :] - cost)


def _minus_soft_minimum(values: Array, axis: int) -> Array:
    return -jax.nn.logsumexp(-values, axis=axis)


def _forward(cost, log_a, log_b, tolerance, max_steps):
    solved = potentials(cost, log_a, log_b, tolerance, max_steps)
    return solved, (cost, solved)


def _backward(tolerance, max_steps, kept, cotangents):
    """Solves [diag(r) P; Pᵀ diag(c)] λ = (f̄, ḡ) for the adjoint of both marginal equations.

    The matrix does not see f + k, g − k, and neither does anything downstream: any solution will do, and the one with
    c·λ_g = 0 is taken.
    """
    cost, solved = kept
    f_bar, g_bar = cotangents
    p = plan(cost, solved)
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    inverse = jnp.where(rows > 0, 1 / jnp.where(rows > 0, rows, 1.0), 0.0)
    f_bar = jnp.where(rows > 0, f_bar, 0.0)
    schur = jnp.diag(columns) - p.T @ (inverse[:, None] * p) + jnp.outer(columns, columns)
    on_g = jnp.linalg.solve(schur, g_bar - p.T @ (inverse * f_bar))
    on_f = inverse * (f_bar - p @ on_g)
    return p * (on_f[:, None] + on_g[None, :]), rows * on_f, columns * on_g


potentials.defvjp(_forward, _backward)
