"""A learned value against the exact one of a Gaussian chain, and what it is worth in a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import steering
from fkdiff.train.value import fit_value, value_loss

KEY = jax.random.key(0)
PATH, SOLVER, SLOPE = fk.paths.variance_preserving(), fk.solvers.ddim(eta=1.0), 1.2
PRED = fk.targets.gaussian([0.4], 0.6).predictor(PATH)
GRID = fk.grid(10, PATH)


def reward(x):
    return SLOPE * x[0]


def exact_values(points):
    """log E[e^{cx_K} | x_k] at every grid time but the last: completing squares back along the chain's own steps."""
    a, b, found = SLOPE, 0.0, []
    for t0, t1 in zip(GRID[-2::-1], GRID[:0:-1], strict=True):
        means = [SOLVER.step(PRED, SOLVER.init(PRED, jnp.array([x]), t0), t0, t1)[0] for x in (0.0, 1.0)]
        shift, scale = float(means[0].mean[0]), float(means[0].scale)
        gain = float(means[1].mean[0]) - shift
        a, b = a * gain, b + a * shift + 0.5 * a**2 * scale**2
        found.append(a * points + b)
    return np.array(found[::-1])


def test_the_loss_is_least_at_the_conditional_mean():
    """By enumeration: with probabilities p of rewards r, e^V = Σ p e^r is where the gradient vanishes."""
    share, rewards = jnp.array([0.2, 0.5, 0.3]), jnp.array([-1.0, 0.4, 2.0])

    def mean_loss(v):
        return share @ jax.vmap(lambda r: value_loss(lambda x, t: v, jnp.zeros(1), jnp.zeros(()), r))(rewards)

    best = jnp.log(share @ jnp.exp(rewards))
    assert abs(float(jax.grad(mean_loss)(best))) <= 1e-6
    assert float(mean_loss(best)) < min(float(mean_loss(best - 0.3)), float(mean_loss(best + 0.3)))
    assert abs(float(jax.grad(mean_loss)(share @ rewards))) > 0.1  # the mean reward is not the value


@pytest.mark.slow
def test_a_learned_value_is_near_the_exact_one_and_pays():
    value = fit_value(KEY, PRED, SOLVER, reward, GRID)
    points = np.linspace(-1.5, 1.5, 13)
    alphas, sigmas = np.asarray(PATH.alpha(GRID[:-1])), np.asarray(PATH.sigma(GRID[:-1]))
    spread = np.sqrt(alphas**2 * 0.6 + sigmas**2)
    for k, t in enumerate(GRID[:-1]):
        x = alphas[k] * 0.4 + spread[k] * points  # where the chain is
        found = jax.vmap(lambda z, t=t: value(z[None], t))(jnp.asarray(x, jnp.float32))
        assert np.abs(np.asarray(found) - exact_values(x)[k]).max() <= 0.35
    never = fk.smc.adaptive(fk.smc.systematic, 0.0)
    ess = {}
    for name, options in {
        "terminal": {"potential": "terminal"},
        "learned, twisted": {"intermediate": steering.learned(value), "proposal": "twisted"},
    }.items():
        model = fk.steer(PRED, SOLVER, reward, lambda s: jnp.ones_like(s), **options)
        out = fk.run_smc(jax.random.key(1), model, GRID, 2048, resample=never)
        ess[name] = float(out.info.ess[-1]) / 2048
        assert abs(float(out.log_normalizer) - (exact_values(np.zeros(1))[0, 0])) <= 0.2
    assert ess["learned, twisted"] >= 0.85
    assert ess["terminal"] <= 0.7


def test_wrong_arguments_raise_one_sentence():
    with pytest.raises(fk.FkdiffError, match="not finite"):
        fit_value(KEY, PRED, SOLVER, lambda x: jnp.where(x[0] > 0, 0.0, -jnp.inf), GRID, num_rollouts=64, num_steps=1)
    with pytest.raises(fk.FkdiffError, match="num_steps=0"):
        fit_value(KEY, PRED, SOLVER, reward, GRID, num_steps=0)
