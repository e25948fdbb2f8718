"""A Feynman–Kac model that can be enumerated, and checks that must hold on it for every resampler.

Three states, four steps, kernels and potentials that differ at every step, two potentials that are zero, four
particles. The oracle is a product of matrices in NumPy and shares no code with what it judges.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fkdiff import smc
from fkdiff.smc.drivers.run import unchecked
from fkdiff.smc.resamplers.resampling import Adaptive
from fkdiff.smc.results import evidence

STEPS, PARTICLES = 4, 4
SCHEMES = [smc.multinomial, smc.stratified, smc.systematic, smc.residual]
GRID = np.arange(STEPS + 1, dtype=np.float32)
START = np.array([0.5, 0.3, 0.2])
G0 = np.array([0.6, 1.3, 0.9])
LAST = np.array([0.7, 1.2, 1.0])
# A draw whose final masses are balanced (0.28, 0.41, 0.31) and whose runs resample a quarter of the time at 0.6.
_rng = np.random.default_rng(2288)
KERNELS = _rng.dirichlet([0.8, 0.8, 0.8], size=(STEPS, 3))
POTENTIALS = _rng.beta(0.5, 0.7, size=(STEPS, 3, 3))
POTENTIALS[1, 2, 0] = POTENTIALS[3, 0, 1] = 0.0
_value, SLOPES = LAST, np.zeros((STEPS, 3, 3))  # d log G / dθ: ±1 by what lies ahead, which forgetting would miss
for _k in reversed(range(STEPS)):
    SLOPES[_k] = np.sign(_value - np.sort(_value)[:2].mean())
    _value = (KERNELS[_k] * POTENTIALS[_k]) @ _value
BOUND = G0.max() * LAST.max() * np.prod(POTENTIALS.max(axis=(1, 2)))
ALPHA = 1e-8
RUNS = 2**17


def exact(theta=0.0):
    """γ_K of each state, by matrix products; its sum is Z."""
    mass = START * G0
    for kernel, potential, slope in zip(KERNELS, POTENTIALS, SLOPES, strict=True):
        mass = mass @ (kernel * potential * np.exp(theta * slope))
    return mass * LAST


def model(theta=0.0):
    """The chain as a `FeynmanKac`: potentials by the time a step leaves, kernels by the time it reaches."""
    as_float = lambda a: jnp.asarray(a, jnp.float32)  # noqa: E731
    with np.errstate(divide="ignore"):
        log_g0, log_g, log_last = (as_float(np.log(a)) for a in (G0, POTENTIALS, LAST))
    log_start, log_kernels, slopes = as_float(np.log(START)), as_float(np.log(KERNELS)), as_float(SLOPES)

    def initial(key):
        state = jax.random.categorical(key, log_start).astype(jnp.int32)
        # The label says the same as the state: gathering one without the other shows.
        return {"state": state, "label": state.astype(jnp.float32)}, log_g0[state]

    def propose(key, particle, t0, t1):
        row = log_kernels[jnp.round(t1).astype(jnp.int32) - 1, particle["label"].astype(jnp.int32)]
        state = jax.random.categorical(key, row).astype(jnp.int32)
        return {"state": state, "label": state.astype(jnp.float32)}

    def log_potential(previous, particle, t0, t1):
        k = jnp.round(t0).astype(jnp.int32)
        return log_g[k, previous["state"], particle["state"]] + theta * slopes[k, previous["state"], particle["state"]]

    return smc.FeynmanKac(initial, propose, log_potential, lambda p: log_last[p["state"]], evaluations=2, jvps=1)


MODEL = model()


def _run(keys, population, resample):
    grid = jnp.asarray(GRID)
    return jax.vmap(lambda key: unchecked(key, population, grid, PARTICLES, resample, None, "error"))(keys)


def _slope(keys, resample):
    def log_normalizer(theta, key):
        out = unchecked(key, model(theta), jnp.asarray(GRID), PARTICLES, resample, None, "error")
        return out.log_normalizer

    return jax.vmap(jax.value_and_grad(log_normalizer), (None, 0))(jnp.float32(0.0), keys)


compiled = {}


def forget():
    """Compiles anew from here on, so that a planted bug is seen."""
    jax.clear_caches()  # branches of a cond are cached by function
    for function in (_run, _slope):
        compiled[function] = eqx.filter_jit(lambda *args, function=function: function(*args))


for _function in (_run, _slope):
    compiled[_function] = eqx.filter_jit(_function)


def chains(resample, num_runs, seed, population=MODEL):
    """Independent runs of four particles."""
    return compiled[_run](jax.random.split(jax.random.key(seed), num_runs), population, resample)


class Chosen(smc.Resampler):
    """One of the four schemes, by an index: one program for all."""

    index: jax.Array

    def __call__(self, key, log_weights):
        return jax.lax.switch(self.index, SCHEMES, key, log_weights)


def when(scheme, threshold):
    """The scheme below a threshold; 2 resamples at every step."""
    return Adaptive(Chosen(jnp.int32(SCHEMES.index(scheme))), jnp.float32(threshold))


def bernstein(values, bound):
    """Half-width of an empirical Bernstein interval at ALPHA for independent values in [0, bound]."""
    n, log_term = len(values), np.log(4 / ALPHA)
    return np.sqrt(2 * values.var(ddof=1) * log_term / n) + 7 * bound * log_term / (3 * (n - 1))


def assert_mean(values, truth, bound, what):
    """Rejects E[values] ≠ truth at ALPHA; a NaN rejects too."""
    values = np.asarray(values, np.float64)
    assert values.max() <= bound * (1 + 1e-5), what
    error, allowed = abs(values.mean() - truth), bernstein(values, bound)
    assert error <= allowed, f"{what}: {values.mean():.5f} for {truth:.5f}, allowed ±{allowed:.5f}"


def check_unbiased(resample, num_runs=RUNS, seed=1, population=MODEL):
    """E[Ẑ Σ W_i 1{x_i = s}] = γ_K(s) for every state s, and E Ẑ = Z."""
    out = chains(resample, num_runs, seed, population=population)
    normalizer = np.exp(np.asarray(out.log_normalizer, np.float64))
    log_weights = np.asarray(out.log_weights, np.float64)
    with np.errstate(invalid="ignore"):
        weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
    states = np.asarray(out.particles["state"])
    extinct = np.isneginf(log_weights).all(axis=1)
    assert (normalizer[extinct] == 0).all()
    truth = exact()
    assert_mean(normalizer, truth.sum(), BOUND, "Z")
    for s in range(3):
        share = np.where(extinct, 0.0, (weights * (states == s)).sum(axis=1))
        assert_mean(normalizer * share, truth[s], BOUND, f"γ(state {s})")


def check_lee_whiteley(resample, num_runs=RUNS, seed=2):
    """E[Ẑ² (1 − V)] = Z², exact for multinomial resampling at every step, and for none."""
    out = dataclasses.replace(chains(resample, num_runs, seed), scheme="multinomial")
    normalizer = np.exp(np.asarray(out.log_normalizer, np.float64))
    variance = np.asarray(jax.jit(jax.vmap(evidence.relative_variance))(out), np.float64)
    squares = normalizer**2 * np.where(normalizer == 0, 0.0, 1 - variance)
    factor = (PARTICLES / (PARTICLES - 1)) ** (STEPS + 1)
    assert_mean(squares, exact().sum() ** 2, BOUND**2 * factor, "Z²")


def check_gradient(resample, num_runs=RUNS, seed=3):
    """E[Ẑ ∂_θ log Ẑ] = ∂_θ Z."""
    value, slope = compiled[_slope](jax.random.split(jax.random.key(seed), num_runs), resample)
    value, slope = np.exp(np.asarray(value, np.float64)), np.asarray(slope, np.float64)
    products = value * np.where(value == 0, 0.0, slope)
    step = 1e-5
    truth = (exact(step).sum() - exact(-step).sum()) / (2 * step)
    reach = BOUND * np.abs(SLOPES).max(axis=(1, 2)).sum()
    assert_mean(products + reach, truth + reach, 2 * reach, "∂Z")
