"""Moves between steps: E Ẑ stays Z if the kernel is invariant and not otherwise; duplicates separate."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import smc
from fkdiff.core import Kernel
from fkdiff.errors import FkdiffError
from tests.smc import smc_chain as chain
from tests.smc import walks

KEY = jax.random.key(0)


class Place(NamedTuple):
    position: jax.Array
    log_density: jax.Array
    score: jax.Array


def metropolis(log_density, propose, log_ratio=lambda old, new: 0.0):
    """Accepts `propose(key, place)` by the Metropolis rule; log_ratio is log q(old | new) − log q(new | old)."""

    def visit(x):
        value, score = jax.value_and_grad(log_density)(x)
        return Place(x, value, score)

    def step(key, place):
        key_noise, key_accept = jax.random.split(key)
        new = visit(propose(key_noise, place))
        log_alpha = new.log_density - place.log_density + log_ratio(place, new)
        accept = jnp.log(jax.random.uniform(key_accept)) < log_alpha
        return jax.tree.map(lambda a, b: jnp.where(accept, a, b), new, place), accept

    return Kernel(lambda key, x: visit(x), step)


def random_walk(log_density, scale):
    return metropolis(log_density, lambda key, p: p.position + scale * jax.random.normal(key, p.position.shape))


def mala(log_density, h):
    def mean(place):
        return place.position + h * place.score

    def log_q(new, old):
        return -jnp.sum((new.position - mean(old)) ** 2) / (4 * h)

    def propose(key, place):
        return mean(place) + jnp.sqrt(2 * h) * jax.random.normal(key, place.position.shape)

    return metropolis(log_density, propose, lambda old, new: log_q(old, new) - log_q(new, old))


def marginals():
    """γ_k of the chain, (K + 1, 3), by matrix products."""
    mass = [chain.START * chain.G0]
    for kernel, potential in zip(chain.KERNELS, chain.POTENTIALS, strict=True):
        mass.append(mass[-1] @ (kernel * potential))
    return np.stack(mass)


def finite_kernel(honest):
    """Metropolis on three states with uniform proposals, invariant for γ_k; or accepting everything."""
    table = jnp.asarray(marginals(), jnp.float32)

    def kernel(t):
        mass = table[jnp.round(t).astype(jnp.int32)]

        def step(key, place):
            key_noise, key_accept = jax.random.split(key)
            new = jax.random.randint(key_noise, (), 0, 3, jnp.int32)
            accept = jax.random.uniform(key_accept) * mass[place.position] < mass[new]
            return Place(jnp.where(accept | (not honest), new, place.position), mass[new], mass[new]), accept

        return Kernel(lambda key, s: Place(s, mass[s], mass[s]), step)

    return kernel


LENS = (lambda p: p["state"], lambda p, state: {"state": state, "label": state.astype(jnp.float32)})


def chain_with(kernel, when="always", num_moves=2, where=LENS):
    return smc.rejuvenated(chain.MODEL, kernel, num_moves=num_moves, where=where, when=when)


FIXED, UNLESS_EQUAL = 2.0, 1.0  # thresholds: at every step, and by a rule that looks at the population
slow = pytest.mark.slow


@pytest.mark.parametrize(
    "when, threshold",
    [
        ("always", 0.6),
        pytest.param("always", UNLESS_EQUAL, marks=slow),
        pytest.param("always", 0.0, marks=slow),
        pytest.param("resampled", FIXED, marks=slow),
    ],
)
def test_moves_leave_the_evidence_unbiased(when, threshold):
    chain.check_unbiased(chain.when(smc.systematic, threshold), population=chain_with(finite_kernel(True), when))


@slow
def test_moves_at_times_that_the_population_chose_have_a_small_bias():
    """The docstring's figure: E Ẑ/Z at N = 4 where only populations of unequal weights are moved."""
    rule = chain.when(smc.systematic, UNLESS_EQUAL)
    ratio = {}
    for when in ("resampled", "always"):
        out = chain.chains(rule, 2**18, 1, population=chain_with(finite_kernel(True), when))
        ratio[when] = np.exp(np.asarray(out.log_normalizer, np.float64)) / chain.exact().sum()
        print(when, ratio[when].mean(), ratio[when].std() / 2**9)
    assert abs(ratio["always"].mean() - 1) <= 6 * ratio["always"].std() / 2**9
    assert 0.975 <= ratio["resampled"].mean() <= 1 - 6 * ratio["resampled"].std() / 2**9


MUTANTS = {
    "accepts everything": lambda: chain_with(finite_kernel(False), num_moves=1),
    "of the time after": lambda: chain_with(lambda t: finite_kernel(True)(t + 1)),
    "moves half of a particle": lambda: chain_with(
        finite_kernel(True), where=(LENS[0], lambda p, state: {"state": state, "label": p["label"]})
    ),
}


@slow
@pytest.mark.parametrize("bug", MUTANTS)
def test_a_kernel_that_is_not_invariant_is_detected(bug):
    with pytest.raises(AssertionError, match=r"^(Z|γ)"):
        chain.check_unbiased(chain.when(smc.systematic, 0.6), population=MUTANTS[bug]())


def frozen(sharpness=30.0):
    """Particles that never move, under N(0, I) and a growing quadratic potential: duplicates stay duplicates."""

    def log_potential(previous, x, t0, t1):
        return -0.5 * sharpness * (t1 - t0) * jnp.sum((x - 1.0) ** 2)

    def log_density(x, t):
        return -0.5 * jnp.sum(x**2) - 0.5 * sharpness * t * jnp.sum((x - 1.0) ** 2)

    return smc.FeynmanKac(
        lambda key: (jax.random.normal(key, (2,)), jnp.zeros(())),
        lambda key, x, t0, t1: x,
        log_potential,
        evaluations=1,
    ), log_density


@pytest.mark.slow
@pytest.mark.parametrize("make", [random_walk, pytest.param(mala, marks=slow)], ids=lambda f: f.__name__)
def test_duplicates_separate_and_the_tempered_law_is_reached(make):
    model, log_density = frozen()
    scale = 0.3 if make is random_walk else 0.03
    moved = smc.rejuvenated(model, lambda t: make(lambda x: log_density(x, t), scale), num_moves=5, cost=(1, 0))
    grid = np.linspace(0.0, 1.0, 9, dtype=np.float32)
    plain, after = (fk.replicate(KEY, 16, m, grid, 512, safety=False) for m in (model, moved))
    distinct = [np.mean([len(np.unique(x[:, 0])) for x in np.asarray(out.runs.particles)]) for out in (plain, after)]
    assert distinct[0] <= 0.3 * 512
    assert distinct[1] >= 0.75 * 512
    # One coordinate: ∫ N(x; 0, 1) e^{−15 (x − 1)²} dx, and the mean of N(30/31, 1/31).
    log_z = 2 * (-0.5 * np.log(31) - 0.5 * 30 / 31)
    assert abs(float(after.evidence.value) - log_z) <= 5 * float(after.evidence.standard_error)
    mean = after.expectation(lambda x: x[0])
    assert abs(float(mean.value) - 30 / 31) <= 5 * float(mean.standard_error)
    assert float(mean.standard_error) <= 0.01


@pytest.mark.slow
def test_moves_happen_only_after_a_resampling():
    model, log_density = frozen()
    seen = smc.rejuvenated(model, lambda t: random_walk(lambda x: log_density(x, t), 0.3), num_moves=3, cost=(7, 2))
    grid = np.linspace(0.0, 1.0, 9, dtype=np.float32)
    out = smc.run_smc(KEY, seen, grid, 256, resample=smc.adaptive(smc.systematic, 0.5))
    times = int(out.info.resamplings)
    assert 0 < times < 8
    assert int(out.info.evaluations) == 9 + times * (3 + 1) * 7
    assert int(out.info.jvps) == times * (3 + 1) * 2
    never = smc.run_smc(KEY, seen, grid, 256, resample=smc.adaptive(smc.systematic, 0.0))
    bare = smc.run_smc(KEY, model, grid, 256, resample=smc.adaptive(smc.systematic, 0.0), safety=False)
    assert np.array_equal(never.particles, bare.particles)
    assert int(never.info.evaluations) == int(bare.info.evaluations)
    always = smc.rejuvenated(model, seen.kernel, num_moves=3, when="always", cost=(7, 2))
    out = smc.run_smc(KEY, always, grid, 256, resample=smc.adaptive(smc.systematic, 0.0))
    assert not out.info.resampled.any()
    assert not np.isin(np.asarray(out.particles)[:, 0], np.asarray(bare.particles)[:, 0]).all()
    assert int(out.info.evaluations) - int(bare.info.evaluations) == 8 * (3 + 1) * 7


PATH = fk.paths.variance_preserving()
PRED = fk.targets.gaussian_mixture([[-2.0], [1.5]], [0.25, 0.64], [0.3, 0.7]).predictor(PATH)


@slow
@pytest.mark.parametrize("make", [random_walk, mala], ids=lambda f: f.__name__)
def test_squared_mixture_with_moves_agrees_with_quadrature(make):
    target = fk.correctors.anneal(PRED, 2.0)
    model = target.feynman_kac("rk4", noise=0.0, control="affine", refresh=0)
    scale = 0.5 if make is random_walk else 0.1
    moved = smc.rejuvenated(model, lambda t: make(lambda x: target.log_density(x, t), scale), num_moves=3)
    many = fk.replicate(KEY, 16, moved, fk.grid(48, PATH), 512, resample=smc.adaptive(smc.systematic, 0.9))
    assert int(many.runs.info.resamplings.min()) >= 1
    evidence = many.evidence
    print(f"log Z {evidence}, resamplings {np.asarray(many.runs.info.resamplings)}")
    assert abs(float(evidence.value) + 1.4973) <= 4 * float(evidence.standard_error)
    assert float(evidence.standard_error) <= 0.05
    mean = many.expectation(lambda x: x[0])
    assert abs(float(mean.value) - 0.7036) <= 4 * float(mean.standard_error)
    distinct = [len(np.unique(x)) for x in np.asarray(many.runs.particles)[..., 0]]
    assert min(distinct) >= 0.7 * 512


def test_the_rest_of_the_model_shows_through():
    corrector = fk.correctors.anneal(PRED, 2.0).feynman_kac()
    moved = smc.rejuvenated(corrector, lambda t: None, num_moves=1)
    assert moved.time_range == corrector.time_range
    assert moved.fixed_start == corrector.fixed_start
    assert moved.refresh_cost == (0, 0)
    solver = fk.solvers.ddim(eta=1.0)
    steered = smc.rejuvenated(fk.steer(PRED, solver, lambda x: x[0]), lambda t: None, num_moves=1)
    assert steered.fixed_start
    with pytest.raises(FkdiffError, match="can draw its first particles only at t ="):
        smc.run_smc(KEY, steered, fk.grid(8, PATH)[2:], 16)
    rule = smc.adaptive(smc.systematic, 1.0)
    pairs = smc.rejuvenated(chain.MODEL, lambda t: random_walk(lambda x: 0.0, 0.1), num_moves=1)
    with pytest.raises(FkdiffError, match=r"is a dict of 2 arrays, and a kernel moves a position: pass where="):
        smc.run_smc(KEY, pairs, jnp.asarray(chain.GRID), 16, resample=rule)


@slow
def test_chunk_changes_no_bit():
    model = walks.model()
    kernel = lambda t: random_walk(lambda x: -0.5 * jnp.sum(x**2), 0.3)  # noqa: E731
    runs = [
        smc.run_smc(
            KEY,
            smc.rejuvenated(model, kernel, num_moves=2, chunk=chunk),
            walks.GRID,
            64,
            resample=smc.adaptive(smc.systematic, 0.9),
        )
        for chunk in (None, 7)
    ]
    assert bool(runs[0].info.resampled.any())
    assert np.array_equal(runs[0].particles, runs[1].particles)


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"model": 3}, "model is a int; pass a FeynmanKac"),
        ({"kernel": Kernel(lambda key, x: x, lambda key, s: (s, None))}, "kernel is a Kernel, made for one law"),
        ({"kernel": 1.0}, "kernel=1.0 is not a function of the time"),
        ({"num_moves": 0}, "num_moves=0 must be a whole number of at least 1"),
        ({"where": lambda p: p}, "is not a pair of functions; pass where="),
        ({"when": "resample"}, 'when="resample" is not one of resampled, always; did you mean "resampled"'),
        ({"cost": 3}, "cost=3 is not a pair"),
        ({"cost": (1.5, 0)}, r"cost\[0\]=1.5 must be a whole number"),
        ({"chunk": 0}, "chunk=0 must be"),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(change, sentence):
    arguments = {"model": walks.model(), "kernel": lambda t: None} | change
    with pytest.raises(FkdiffError, match=sentence):
        smc.rejuvenated(**arguments)


def test_a_kernel_that_is_none_or_moves_another_shape_is_refused():
    for kernel, sentence in [
        (lambda t: t, r"kernel\(t\) is a .*; return fkdiff\.Kernel"),
        (lambda t: Kernel(lambda key, x: Place(x[0], x[0], x[0]), lambda key, s: (s, None)), "a move turned particles"),
    ]:
        with pytest.raises(FkdiffError, match=sentence):
            smc.run_smc(KEY, smc.rejuvenated(walks.model(), kernel), walks.GRID, 8)
