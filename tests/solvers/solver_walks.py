"""Shared by the solver tests: a loop over `step`, and the vp path in NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

LONGEST = 2048


def walk(pred, solver, times, positions):
    """Means of a deterministic walk from each position, shape (n, d) -> (n, d); one compilation for any grid."""
    padded = jnp.concatenate([times, jnp.ones(LONGEST + 1 - len(times))])
    return _walk(pred, solver, padded, jnp.asarray(len(times) - 1), jnp.asarray(positions))


@eqx.filter_jit
def _walk(pred, solver, times, num_steps, positions):
    def one(x):
        def body(k, carry):
            state = solver.arrive(pred, carry[0], times[k], carry[1])
            transition, moved = solver.step(pred, state, times[k], times[k + 1])
            return transition.mean, moved.memory

        return jax.lax.fori_loop(0, num_steps, body, (x, solver.memory(x)))[0]

    return jax.vmap(one)(positions)


def orders(errors):
    """Measured orders of errors at doubling step counts."""
    return np.log2(np.asarray(errors)[:-1] / np.asarray(errors)[1:])


def vp(t):
    """α, σ, κ = c and ∫₀^τ b of `variance_preserving()`."""
    tau = 1 - np.asarray(t)
    total = 0.1 * tau + 19.9 * tau**2 / 2
    return np.exp(-total / 2), np.sqrt(-np.expm1(-total)), (0.1 + 19.9 * tau) / 2, total
