"""The law of a solver's chain on the line, without sampling: expectations at its end, carried backwards in NumPy.

h_K = φ and h_k(x) = E[h_{k+1}(mean(x) + scale(x) ξ)] by Gauss–Hermite sums on a grid of positions. Only mean and scale
come from the solver.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import CubicSpline

NODES, SHARES = np.polynomial.hermite_e.hermegauss(60)
SHARES = SHARES / SHARES.sum()
WIDTH, POINTS = 9.0, 4001


@eqx.filter_jit
def transitions(pred, solver, positions, t0, t1):
    """Mean and scale of the steps from many positions."""

    def one(x):
        transition, _ = solver.step(pred, solver.init(pred, x[None], t0), t0, t1)
        return transition.mean[0], jnp.broadcast_to(transition.scale, (1,))[0]

    return jax.vmap(one)(positions)


def expectations(pred, solver, times, functions, reference=(0.0, 1.0)):
    """E φ(x_K) of a chain that starts from N(α m, α² ς² + σ²), for each of some functions of arrays of positions."""
    positions = np.linspace(-WIDTH, WIDTH, POINTS)
    values = np.stack([f(positions) for f in functions], axis=1)
    for t0, t1 in zip(times[-2::-1], times[:0:-1], strict=True):
        mean, scale = (np.asarray(a, np.float64) for a in transitions(pred, solver, jnp.asarray(positions), t0, t1))
        ends = np.clip(mean[:, None] + scale[:, None] * NODES, -WIDTH, WIDTH)
        values = np.einsum("inf,n->if", CubicSpline(positions, values)(ends), SHARES)
    alpha, sigma = float(pred.path.alpha(times[0])), float(pred.path.sigma(times[0]))
    first = alpha * reference[0] + np.sqrt(alpha**2 * reference[1] + sigma**2) * NODES
    return SHARES @ CubicSpline(positions, values)(first)
