"""Truth tables of the resamplers, as checks that a planted bug must fail."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.smc.resamplers import ancestors

LARGEST_UNIFORM = 1 - 2.0**-24


def oracle(points, weights):
    """Ancestor of each point by exact rational arithmetic: the first i with CDF_i > point, by a plain loop."""
    total = sum(Fraction(float(w)) for w in weights)
    chosen = []
    for point in points:
        mass = Fraction(0)
        for i, w in enumerate(weights):
            mass += Fraction(float(w)) / total
            if Fraction(point) < mass:
                chosen.append(i)
                break
    return chosen


def logs(weights):
    with np.errstate(divide="ignore"):
        return jnp.log(jnp.asarray(weights, jnp.result_type(float)))


def check_systematic_table():
    """Weights that are sums of powers of two have exact CDFs, so that every tie is a real one."""
    table = [
        # weights, u, ancestors
        ([1, 1, 1, 1], 0.0, [0, 1, 2, 3]),
        ([1, 1, 1, 1], 0.5, [0, 1, 2, 3]),
        ([1, 1, 1, 1], LARGEST_UNIFORM, [0, 1, 2, 3]),
        ([0, 1, 1, 2], 0.0, [1, 2, 3, 3]),
        ([0, 1, 1, 2], LARGEST_UNIFORM, [1, 2, 3, 3]),
        ([2, 1, 1, 0], 0.0, [0, 0, 1, 2]),
        ([2, 1, 1, 0], LARGEST_UNIFORM, [0, 0, 1, 2]),
        ([0, 0, 1, 0], 0.0, [2, 2, 2, 2]),
        ([0, 0, 1, 0], LARGEST_UNIFORM, [2, 2, 2, 2]),
        ([0, 0, 0, 1], 0.25, [3, 3, 3, 3]),
        ([1, 0, 0, 0], 0.75, [0, 0, 0, 0]),
        ([1, 4, 2, 1], 0.25, [0, 1, 1, 2]),
        ([1, 4, 2, 1], 0.75, [1, 1, 2, 3]),
        ([2, 0, 1, 1], 0.0, [0, 0, 2, 3]),
    ]
    for weights, u, expected in table:
        found = ancestors.systematic_ancestors(jnp.asarray(u, jnp.result_type(float)), logs(weights))
        assert found.dtype == jnp.int32
        assert found.tolist() == expected, (weights, u, found)


def check_against_oracle(scheme, draw):
    """Random weights, some zero, at the first, the last and inner places; `draw` gives (u, sorted points)."""
    rng = np.random.default_rng(3)
    for count in (2, 5, 8):
        compiled = jax.jit(scheme)
        for _ in range(40):
            weights = rng.gamma(0.4, size=count) * (rng.random(count) < 0.7)
            weights[rng.integers(count)] = 1.0
            u, points = draw(rng, count)
            found = compiled(jnp.asarray(u), logs(weights))
            assert found.tolist() == oracle(points, weights), (weights, u)


def check_counts(scheme, shape, slack, seed=0):
    """|count − N w| < slack, counts sum to N, and nothing of weight zero is chosen, at N = 1000 in float32."""
    compiled = jax.jit(scheme)
    for round_ in range(20):
        rng = np.random.default_rng(seed + round_)
        weights = rng.gamma(0.3, size=1000).astype(np.float32) * (rng.random(1000) < 0.8)
        weights[[0, -1]] = 0
        u = jnp.asarray(rng.random(shape).astype(np.float32))
        counts = np.bincount(compiled(u, logs(weights)), minlength=1000)
        assert counts.sum() == 1000
        assert (counts[weights == 0] == 0).all()
        error = np.abs(counts - 1000 * weights / weights.sum(dtype=np.float64)).max()
        assert error <= slack + 1e-3


def check_mean_counts(resampler, num_runs=2**16, seed=0):
    """E count_i = N w_i, by empirical Bernstein at 1e-8."""
    weights = np.array([0.05, 0.4, 0.0, 0.3, 0.25])
    run = jax.jit(jax.vmap(lambda key: resampler(key, logs(weights))[0]))
    chosen = np.asarray(run(jax.random.split(jax.random.key(seed), num_runs)))
    for i, w in enumerate(weights):
        counts = (chosen == i).sum(axis=1).astype(float)
        log_term = np.log(4 / 1e-8)
        allowed = np.sqrt(2 * counts.var(ddof=1) * log_term / num_runs) + 7 * 5 * log_term / (3 * (num_runs - 1))
        error = abs(counts.mean() - 5 * w)
        assert error <= allowed, (i, counts.mean(), 5 * w)


def check_decision(adaptive, resampler):
    """Resample strictly below threshold · N: weights (1, 1, 0, 0) have ESS 2 of 4 exactly."""
    table = [
        # weights, threshold, resampled
        ([1, 1, 0, 0], 0.5, False),
        ([1, 1, 0, 0], 0.5 + 2.0**-20, True),
        ([1, 1, 0, 0], 0.5 - 2.0**-20, False),
        ([1, 1, 1, 1], 1.0, False),
        ([1, 1, 1, 0.5], 1.0, True),
        ([1, 0, 0, 0], 0.25, False),
        ([1, 0, 0, 0], 0.26, True),
        ([1, 1e-6, 1e-6, 0], 0.0, False),
        ([4, 1, 0, 0], 0.36, False),  # ESS = 25/17, a share of 0.3676
        ([4, 1, 0, 0], 0.37, True),
        ([4, 1, 0, 0], 0.367, False),
        ([0, 0, 0, 0], 1.0, False),
        ([0, np.nan, 1, 1], 1.0, False),
        ([0, np.inf, 1, 1], 1.0, False),
    ]
    apply = jax.jit(lambda key, log_weights, threshold: adaptive(resampler, threshold)(key, log_weights))
    for weights, threshold, expected in table:
        before = logs(weights)
        chosen, after, resampled = apply(jax.random.key(0), before, jnp.float32(threshold))
        assert bool(resampled) == expected, (weights, threshold)
        if expected:
            assert (np.asarray(after) == 0).all()
        else:
            assert np.array_equal(after, before, equal_nan=True)
            assert chosen.tolist() == [0, 1, 2, 3]
