"""Trajectories whose law is known: a 3-state chain by enumeration, a linear-Gaussian chain by its precision matrix.

Potentials look at both ends of a move, differ at every step, and are strong enough that N = 2 feels every mistake.
"""

import itertools
from statistics import NormalDist

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from fkdiff import smc

ALPHA = 1e-8
STEPS = 3
GRID = np.arange(STEPS + 1, dtype=np.float32)
_rng = np.random.default_rng(17)
START = np.array([0.5, 0.3, 0.2])
G0 = np.array([0.3, 1.0, 0.6])
LAST = np.array([1.0, 0.4, 0.7])
KERNELS = _rng.dirichlet([1.5, 1.5, 1.5], size=(STEPS, 3))
POTENTIALS = np.exp(_rng.uniform(-2.0, 0.0, size=(STEPS, 3, 3)))
PATHS = np.array(list(itertools.product(range(3), repeat=STEPS + 1)))


def path_law():
    """(probability of each of the 81 paths, Z), by a plain product."""
    mass = START[PATHS[:, 0]] * G0[PATHS[:, 0]] * LAST[PATHS[:, -1]]
    for k in range(STEPS):
        a, b = PATHS[:, k], PATHS[:, k + 1]
        mass = mass * KERNELS[k][a, b] * POTENTIALS[k][a, b]
    return mass / mass.sum(), mass.sum()


LAW, Z = path_law()
_log = {
    name: jnp.asarray(np.log(a), jnp.float32)
    for name, a in {"start": START, "g0": G0, "last": LAST, "kernels": KERNELS, "potentials": POTENTIALS}.items()
}


def _step(t0):
    return jnp.round(t0).astype(jnp.int32)


def _particle(state):
    return {"state": state.astype(jnp.int32), "label": state.astype(jnp.float32)}


def _initial(key):
    state = jax.random.categorical(key, _log["start"])
    return _particle(state), _log["g0"][state]


def _propose(key, particle, t0, t1):
    return _particle(jax.random.categorical(key, _log["kernels"][_step(t0), particle["label"].astype(jnp.int32)]))


def _log_potential(previous, particle, t0, t1):
    return _log["potentials"][_step(t0), previous["state"], particle["state"]]


def log_transition(previous, particle, t0, t1):
    """log M_k."""
    return _log["kernels"][_step(t0), previous["state"], particle["state"]]


CHAIN = smc.FeynmanKac(_initial, _propose, _log_potential, lambda p: _log["last"][p["state"]])


def exact_positions(num, seed):
    """Independent trajectories of the chain's exact law."""
    states = PATHS[np.random.default_rng(seed).choice(len(LAW), size=num, p=LAW)]
    particles = {"state": jnp.asarray(states, jnp.int32), "label": jnp.asarray(states, jnp.float32)}
    return smc.Trajectory(particles, _log["g0"][states[:, 0]])


def sweeps(kernel, positions, seed, num_sweeps=1):
    """`num_sweeps` sweeps of every position: (positions, the last info)."""

    def one(key, position):
        def body(state, key):
            return kernel.step(key, state)

        state, infos = jax.lax.scan(body, kernel.init(key, position), jax.random.split(key, num_sweeps))
        return state.position, jax.tree.map(lambda leaf: leaf[-1], infos)

    keys = jax.random.split(jax.random.key(seed), positions.log_g0.shape[0])
    return eqx.filter_jit(jax.vmap(one))(keys, positions)


def check_invariance(num_particles, num=2**15, seed=5, model=CHAIN, **options):
    """One sweep from the exact law: χ² of the 81 path frequencies, and E[1/Ẑ] = 1/Z."""
    if options.get("renew", "trace") != "trace":
        options["log_transition"] = log_transition
    kernel = smc.conditional(model, GRID, num_particles, **options)
    after, info = sweeps(kernel, exact_positions(num, seed), seed + 1)
    states = np.asarray(after.particles["state"])
    assert np.array_equal(states, np.asarray(after.particles["label"]))
    assert np.array_equal(np.asarray(after.log_g0), np.asarray(_log["g0"])[states[:, 0]])
    assert (np.asarray(info.status) == 0).all()
    counts = np.bincount(states @ 3 ** np.arange(STEPS, -1, -1), minlength=len(LAW))
    common = LAW * num >= 50
    cells = np.where(common, np.cumsum(common), 0)  # those too small for χ² are one cell
    observed, expected = np.bincount(cells, counts), np.bincount(cells, LAW * num)
    assert expected.min() >= 50
    distance = float(np.sum((observed - expected) ** 2 / expected))
    allowed = stats.chi2.isf(ALPHA, len(expected) - 1)
    assert distance <= allowed, f"χ² = {distance:.0f} of {len(expected)} cells, allowed {allowed:.0f}"
    inverse = np.exp(-np.asarray(info.log_normalizer, np.float64)) * Z
    error, allowed = abs(inverse.mean() - 1), inverse.std() * 6 / np.sqrt(num)
    assert error <= allowed, f"E[Z/Ẑ] = {inverse.mean():.4f}, allowed ±{allowed:.4f}"
    return info


# x_0 ~ N(0.5, 1), x' = 0.9 x + 0.3 + √0.5 ξ, G_k = N(y_k; x' − 0.4 x, 0.3).
SLOPE, DRIFT, NOISE, MIX, SPREAD = 0.9, 0.3, 0.5, 0.4, 0.3


def observations(steps):
    return 1.5 * np.sin(1.3 * np.arange(1, steps + 1)) + 0.4


def _gaussian(value, mean, variance):
    return -0.5 * (value - mean) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)


def gaussian_log_transition(previous, x, t0, t1):
    """log M."""
    return _gaussian(x, SLOPE * previous + DRIFT, NOISE)


def gaussian_model(steps):
    """The linear-Gaussian chain, and its grid."""
    y = jnp.asarray(observations(steps), jnp.float32)

    def initial(key):
        return 0.5 + jax.random.normal(key), jnp.zeros(())

    def propose(key, x, t0, t1):
        return SLOPE * x + DRIFT + np.float32(np.sqrt(NOISE)) * jax.random.normal(key)

    def log_potential(previous, x, t0, t1):
        return _gaussian(y[_step(t0)], x - MIX * previous, SPREAD)

    return smc.FeynmanKac(initial, propose, log_potential), np.arange(steps + 1, dtype=np.float32)


def smoothing(steps):
    """(mean, covariance) of x_{0:K} given y, from the precision of the joint law."""
    precision, linear = np.zeros((steps + 1, steps + 1)), np.zeros(steps + 1)

    def add(row, value, variance):
        nonlocal precision, linear
        precision, linear = precision + np.outer(row, row) / variance, linear + row * value / variance

    unit = np.eye(steps + 1)
    add(unit[0], 0.5, 1.0)
    for k, y in enumerate(observations(steps)):
        add(unit[k + 1] - SLOPE * unit[k], DRIFT, NOISE)
        add(unit[k + 1] - MIX * unit[k], y, SPREAD)
    covariance = np.linalg.inv(precision)
    return covariance @ linear, covariance


def check_gaussian(paths, mean, covariance):
    """Whitened paths have mean 0 and second moments I, each at 1e-8 over all entries together."""
    z = np.linalg.solve(np.linalg.cholesky(covariance), (np.asarray(paths, np.float64) - mean).T)
    size, num = z.shape
    bound = NormalDist().inv_cdf(1 - ALPHA / 2 / (size + size * (size + 1) / 2)) / np.sqrt(num)
    error = np.abs(z.mean(axis=1)).max()
    assert error <= bound, f"mean off by {error:.4f} sd, allowed {bound:.4f}"
    off = np.abs((z @ z.T / num - np.eye(size)) / np.sqrt(1 + np.eye(size))).max()
    assert off <= 1.1 * bound, f"covariance off by {off:.4f}, allowed {1.1 * bound:.4f}"  # tails of χ², not normal
