"""Exact kernels keep their law: independent draws of a skewed, anisotropic target stay such, and reversibly.

The exact law needs no burn-in, so every draw is independent of every other: DKWM bounds hold at level 1e-8. Every check
is one that some planted bug fails.
"""

import contextlib
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import fkdiff as fk
from fkdiff import mcmc
from fkdiff.mcmc import noise, states

ALPHA = 1e-8


def target(x):
    """exp(x_0) ~ Gamma(2), x_1 | x_0 ~ N(x_0²/2, 2)."""
    return 2 * x[0] - jnp.exp(x[0]) - (x[1] - 0.5 * x[0] ** 2) ** 2 / 4


def exact(key, count):
    first, second = jax.random.split(key)
    a = jnp.log(jax.random.gamma(first, 2.0, (count,)))
    return jnp.stack([a, 0.5 * a**2 + math.sqrt(2.0) * jax.random.normal(second, (count,))], axis=1)


def uniforms(x):
    """Uniform and independent under the target; also their difference, folded, which sees dependence."""
    x = np.asarray(x, dtype=np.float64)
    u = scipy.special.gammainc(2.0, np.exp(x[:, 0]))
    v = scipy.stats.norm.cdf((x[:, 1] - 0.5 * x[:, 0] ** 2) / np.sqrt(2.0))
    return u, v, (u + v) % 1.0


def dkwm_excess(sample):
    """The largest distance of the empirical CDF from the diagonal, over its bound at ALPHA (three samples)."""
    n = sample.size
    ordered, ranks = np.sort(sample), np.arange(n + 1) / n
    distance = max(np.max(ranks[1:] - ordered), np.max(ordered - ranks[:-1]))
    return distance / math.sqrt(math.log(2 * 3 / ALPHA) / (2 * n))


def sign_excess(x, y):
    """Signs of antisymmetric functions are fair coins under detailed balance: |z| over its bound."""
    worst = 0.0
    for f, g in ((x[:, 0] ** 3, y[:, 0] ** 3), (x[:, 0] * y[:, 1] ** 2, y[:, 0] * x[:, 1] ** 2)):
        difference = np.asarray(f - g, dtype=np.float64)
        moved = difference[difference != 0]
        z = abs(np.sign(moved).sum()) / math.sqrt(moved.size)
        worst = max(worst, z / scipy.stats.norm.isf(ALPHA / 4))
    return worst


def run(kernel, count, steps, seed=0):
    first, second = jax.random.split(jax.random.key(seed))
    x = exact(first, count)
    out = fk.run_chain(second, kernel, x, steps, num_chains=count)
    return np.asarray(x), np.asarray(out.position), float(jnp.mean(out.acceptance))


def excess(kernel, count=2**17, steps=4):
    """Over 1 where the kernel is rejected; NaN positions too."""
    _, last, _ = run(kernel, count, steps)
    x, y, acceptance = run(kernel, count, 1, seed=1)
    if not np.isfinite(last).all():
        return math.inf, acceptance
    return max(*(dkwm_excess(u) for u in uniforms(last)), sign_excess(x, y)), acceptance


MASS = [[0.5, 0.1], [0.1, 2.0]]
EXACT = {
    "mala": lambda: mcmc.mala(target, 0.5),
    "mala, dense": lambda: mcmc.mala(target, 0.4, MASS),
    "hmc": lambda: mcmc.hmc(target, 0.6, 3),
    "hmc, dense, jitter": lambda: mcmc.hmc(target, 0.7, 3, MASS, jitter=0.4),
    "random_walk": lambda: mcmc.random_walk(target, 1.2),
    "random_walk, diagonal": lambda: mcmc.random_walk(target, 1.0, [0.5, 2.0]),
}


@pytest.mark.parametrize("name", ["mala, dense", *(pytest.param(name, marks=pytest.mark.slow) for name in EXACT)])
def test_exact_kernels_keep_their_law(name):
    found, acceptance = excess(EXACT[name](), 2**14 if name == "mala, dense" else 2**17)
    assert found <= 1.0
    assert 0.3 <= acceptance <= 0.97  # neither all nor nothing, or a wrong decision could hide


@contextlib.contextmanager
def planted(**changes):
    """Functions of `states` and `noise`, replaced where the kernels look them up."""
    import sys

    with pytest.MonkeyPatch.context() as patch:
        for name, change in changes.items():
            if name == "metropolis":
                for file in ("mala", "hmc", "random_walk"):
                    patch.setattr(sys.modules[f"fkdiff.mcmc.{file}"], name, change)
            else:
                patch.setattr(noise, name, change)
        jax.clear_caches()
        yield
    jax.clear_caches()


def flipped(key, name, old, new, change, *rest, **options):
    return states.metropolis(key, name, old, new, -change, *rest, **options)


def accepts_everything(key, name, old, new, change, *rest, **options):
    return states.metropolis(key, name, old, new, jnp.zeros_like(change), *rest, **options)


def without_ratio(key, name, old, new, change, *rest, **options):
    change = old.evaluation.values[0] - new.evaluation.values[0]
    return states.metropolis(key, name, old, new, change, *rest, **options)


def one_key():
    """Noise and decision from one stream: the uniform is the noise's own."""
    drawn, plain = [], noise.normal_like

    def normal_like(key, position):
        drawn.append(plain(key, position))
        return drawn[-1]

    return {
        "normal_like": normal_like,
        "uniform": lambda key, like: jax.scipy.stats.norm.cdf(drawn[-1][0]).astype(like.dtype),
    }


def shorter_noise():
    """√h for √(2h), with the ratio of the right one."""
    plain = noise.normal_like
    return {"normal_like": lambda key, position: plain(key, position) / math.sqrt(2.0)}


BUGS = {
    "flipped sign": lambda: {"metropolis": flipped},
    "no decision": lambda: {"metropolis": accepts_everything},
    "no proposal ratio": lambda: {"metropolis": without_ratio},
    "one key": one_key,
    "shorter noise": shorter_noise,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, bug",
    [(name, bug) for name in ("mala", "hmc") for bug in BUGS]
    + [("random_walk", bug) for bug in ("flipped sign", "no decision", "one key")],
)
def test_bugs_in_exact_kernels_are_found(name, bug):
    with planted(**BUGS[bug]()):
        found, _ = excess(EXACT[name]())
    assert found > 1.0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mala", "hmc", "random_walk"])
def test_a_kernel_that_never_moves_keeps_its_law_and_is_found(name):
    """Invariance cannot see it; the diffusion limit can."""

    def stays(key, label, old, new, change, *rest, **options):
        return states.metropolis(key, label, old, new, jnp.full_like(change, jnp.inf), *rest, **options)

    with planted(metropolis=stays):
        _, last, _ = run(EXACT[name](), 2**14, 1)
        assert max(dkwm_excess(u) for u in uniforms(last)) <= 1.0
        assert not abs(diffusion(*SMALL[name]()) - 1) <= 0.05


def diffusion(kernel, length):
    """E|Δx|²/length² in 2 dimensions, from 2¹⁵ independent draws: 1 in the limit of small steps."""
    x = exact(jax.random.key(5), 2**15)
    out = fk.run_chain(jax.random.key(6), kernel, x, 1, num_chains=2**15)
    return float(jnp.mean(jnp.sum((out.position - x) ** 2, axis=1)) / length**2)


SMALL = {
    "ula": lambda: (mcmc.ula(target, 1e-4), math.sqrt(4e-4)),
    "mala": lambda: (mcmc.mala(target, 1e-4), math.sqrt(4e-4)),
    "hmc": lambda: (mcmc.hmc(target, 0.01, 2), 0.02 * math.sqrt(2.0)),
    "random_walk": lambda: (mcmc.random_walk(target, 0.01), 0.01 * math.sqrt(2.0)),
}


@pytest.mark.parametrize("name", ["mala", *(pytest.param(n, marks=pytest.mark.slow) for n in SMALL if n != "mala")])
def test_small_steps_diffuse(name):
    """|Δx|² is exponential: its mean of 2¹⁵ has standard deviation 0.0055, and 0.04 is 7 of them."""
    assert abs(diffusion(*SMALL[name]()) - 1) <= 0.04


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [False, True])
def test_one_shot_geweke(wrong):
    """θ ~ N(0, 1), counts | θ ~ Poisson(e^θ), then 3 steps of a kernel of θ | counts: θ is still N(0, 1)."""
    count = 2**16
    keys = jax.random.split(jax.random.key(8), 3)
    theta = jax.random.normal(keys[0], (count, 1))
    data = jax.random.poisson(keys[1], jnp.exp(jnp.broadcast_to(theta, (count, 3)))).astype(jnp.float32)

    def posterior(counts, x):
        prior = -0.5 * jnp.sum(x**2) * (0.8 if wrong else 1.0)
        return prior + jnp.sum(counts) * x[0] - 3 * jnp.exp(x[0])

    @jax.jit
    @jax.vmap
    def moved(key, x, counts):
        kernel = mcmc.hmc(functools.partial(posterior, counts), 0.3, 3)
        state = kernel.init(key, x)
        for number in range(3):
            state, _ = kernel.step(jax.random.fold_in(key, number), state)
        return state.position

    last = np.asarray(moved(jax.random.split(keys[2], count), theta, data), dtype=np.float64)
    found = dkwm_excess(scipy.stats.norm.cdf(last[:, 0]))
    assert (found > 1.0) if wrong else (found <= 1.0)
