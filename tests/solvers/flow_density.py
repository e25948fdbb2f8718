"""A mixture in the plane whose log-density the flow must reproduce, and the paths and positions to ask at."""

import jax
import numpy as np

import fkdiff.paths as paths
from fkdiff.targets import gaussian_mixture

# The start is exact up to O(α²) at t_min: paths that begin at log-SNR −20 or below.
PATHS = {
    "vp": lambda: paths.variance_preserving(beta_max=60.0, log_snr=(-28.0, 9.0)),
    "linear": lambda: paths.linear((-28.0, 9.0)),
    "ve": lambda: paths.variance_exploding(sigma_max=1e6, log_snr=(-28.0, 9.0)),
}
POSITIONS = np.array([[-1.9, 0.5], [0.1, -0.4], [1.4, -1.2], [2.5, 1.0]])


def mixture():
    return gaussian_mixture([[-2.0, 0.4], [1.5, -1.0]], [[0.25, 0.5], [0.64, 1.2]], [0.3, 0.7])


def exact(pred, x):
    return jax.jit(jax.vmap(lambda x: pred.log_prob(x, pred.path.t_max)))(x)
