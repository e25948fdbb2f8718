"""A Gaussian random walk with quadratic potentials: continuous, closed form, cheap to compile."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fkdiff import smc

GRID = np.array([0.0, 0.1, 0.35, 0.5, 0.9, 1.0], np.float32)

TRACES = []  # one entry for each time that Python runs the model
NUM_PARTICLES = 64  # shared by the tests, so that most of them run one compiled program


class Walk(eqx.Module):
    """x' = x + √Δt ξ, log G = −½ a (x' − b)² Δt."""

    sharpness: jax.Array
    centre: jax.Array

    def initial(self, key):
        x = jax.random.normal(key, (2,), self.centre.dtype)
        return x, -0.1 * x[0]

    def propose(self, key, x, t0, t1):
        TRACES.append(1)
        return x + jnp.sqrt(t1 - t0).astype(x.dtype) * jax.random.normal(key, x.shape, x.dtype)

    def log_potential(self, previous, x, t0, t1):
        return -0.5 * self.sharpness * (t1 - t0).astype(x.dtype) * jnp.sum((x - self.centre) ** 2)


def model(sharpness=4.0, centre=1.0, walk=Walk):
    """The walk as a `FeynmanKac`."""
    dtype = jnp.result_type(float)
    walk = walk(jnp.asarray(sharpness, dtype), jnp.asarray(centre, dtype))
    return smc.FeynmanKac(walk.initial, walk.propose, walk.log_potential, evaluations=3, jvps=2)


def exact_log_normalizer(grid, sharpness, centre):
    """log Z by Gaussian integration over the path, one coordinate after the other: independent of the engine."""
    total = 0.0
    for slope in (-0.1, 0.0):
        steps = np.diff(np.asarray(grid, np.float64))
        size = len(steps) + 1
        precision = np.zeros((size, size))
        linear, constant = np.zeros(size), 0.0
        precision[0, 0] += 1
        linear[0] += slope
        log_norm = 0.5 * np.log(2 * np.pi)
        for k, dt in enumerate(steps):
            difference = np.zeros(size)
            difference[k + 1], difference[k] = 1, -1
            precision += np.outer(difference, difference) / dt
            log_norm += 0.5 * np.log(2 * np.pi * dt)
            precision[k + 1, k + 1] += sharpness * dt
            linear[k + 1] += sharpness * dt * centre
            constant += 0.5 * sharpness * dt * centre**2
        _, log_det = np.linalg.slogdet(precision)
        gaussian = 0.5 * linear @ np.linalg.solve(precision, linear) + 0.5 * size * np.log(2 * np.pi) - 0.5 * log_det
        total += gaussian - log_norm - constant
    return total
