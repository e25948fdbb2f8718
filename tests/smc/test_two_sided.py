"""Evidence from both ends, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import fkdiff as fk
from fkdiff import mcmc, smc

KEY = jax.random.key(0)
SPREAD, SEEN = 0.4, 1.3
VARIANCE = 1 + SPREAD**2
LOG_Z = float(-0.5 * SEEN**2 / VARIANCE - 0.5 * np.log(2 * np.pi * VARIANCE))
GRID = jnp.linspace(0.0, 1.0, 6) ** 2
NEVER = smc.adaptive(smc.systematic, 0.0)


def model(move=lambda f: mcmc.mala(f, 0.1)):
    return smc.tempering(
        lambda x: -0.5 * x**2 - 0.5 * jnp.log(2 * jnp.pi),
        lambda x: -0.5 * ((SEEN - x) / SPREAD) ** 2 - 0.5 * jnp.log(2 * jnp.pi * SPREAD**2),
        lambda key: jax.random.normal(key, ()),
        move,
    )


def sample_posterior(key):
    return SEEN / VARIANCE + SPREAD / np.sqrt(VARIANCE) * jax.random.normal(key, ())


def pair(key, num_particles=256, resample=NEVER):
    up, down = jax.random.split(key)
    back = smc.backwards(model(), sample_posterior)
    forward = fk.run_smc(up, model(), GRID, num_particles, resample=resample)
    return forward, fk.run_smc(down, back, 1 - GRID[::-1], num_particles, resample=resample)


@pytest.mark.x64
def test_bennett_solves_his_equation():
    """Gaussian works satisfy Crooks' theorem: w ~ N(C − s²/2, s²) forward, N(−C − s²/2, s²) backward."""
    rng, c, s = np.random.default_rng(1), 2.0, 1.5
    forward, backward = rng.normal(c - s**2 / 2, s, 4000), rng.normal(-c - s**2 / 2, s, 1000)
    m = np.log(4.0)
    f = lambda x: 1 / (1 + np.exp(x))  # noqa: E731
    root = scipy.optimize.brentq(lambda x: f(m - forward + x).sum() - f(-m - backward - x).sum(), -10, 10)
    got = smc.bennett(jnp.asarray(forward), jnp.asarray(backward))
    assert abs(float(got.value) - root) <= 1e-9
    assert 0.01 <= float(got.standard_error) <= 0.1
    assert abs(root - c) <= 4.5 * float(got.standard_error)


@pytest.mark.slow
def test_both_ends_bracket_the_evidence_and_bennett_hits_it():
    def one(key):
        forward, backward = pair(key, 16)
        found = smc.bennett(forward.log_weights, backward.log_weights)
        return forward.log_normalizer, -backward.log_normalizer, found.value, found.standard_error

    count = 2000
    lower, upper, bar, error = (np.asarray(x) for x in jax.jit(jax.vmap(one))(jax.random.split(KEY, count)))
    for values, sign in ((lower, -1), (upper, 1)):
        gap, noise = values.mean() - LOG_Z, values.std() / np.sqrt(count)
        assert sign * gap >= 4.5 * noise  # strictly beyond, with so few particles
    assert abs(bar.mean() - LOG_Z) <= 4.5 * bar.std() / np.sqrt(count) + 0.01
    assert bar.std() <= 0.8 * min(lower.std(), upper.std())
    assert 0.75 <= error.mean() / bar.std() <= 1.25
    backward_mass = np.exp(-(upper - LOG_Z))  # E Ẑ′ = 1/Z, exactly
    assert abs(backward_mass.mean() - 1) <= 4.5 * backward_mass.std() / np.sqrt(count)


@pytest.mark.slow
def test_two_sided_says_what_it_has():
    forward, backward = pair(KEY)
    both = smc.two_sided(forward, backward)
    assert abs(float(both.bar.value) - LOG_Z) <= 4.5 * float(both.bar.standard_error)
    assert float(both.lower) == float(forward.log_normalizer)
    assert float(both.upper) == -float(backward.log_normalizer)
    resampled = smc.two_sided(*pair(KEY, 4096, smc.systematic))
    assert resampled.bar is None
    assert abs(float(resampled.lower) - LOG_Z) <= 0.3
    assert abs(float(resampled.upper) - LOG_Z) <= 0.3


def test_what_has_no_reverse_is_refused():
    tuned = model(smc.tuned(lambda f, h, mass: mcmc.mala(f, h, mass)))
    with pytest.raises(fk.FkdiffError, match="freeze it first"):
        smc.backwards(tuned, sample_posterior)
    with pytest.raises(fk.FkdiffError, match="sample_target=3 is not a function"):
        smc.backwards(model(), 3)
    with pytest.raises(fk.FkdiffError, match="forward is a int"):
        smc.two_sided(3, 4)
