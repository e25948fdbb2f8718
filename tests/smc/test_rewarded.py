"""Rewards on any model: exact laws on a chain that can be enumerated, and planted bugs that must show.

The oracle is a product of matrices: with γ_K(s) the mass of every last state, Z = Σ_s γ_K(s) e^{r(s)}.
"""

import dataclasses
import importlib
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import smc
from fkdiff.smc.combinators.potentials import POTENTIALS, floored
from fkdiff.smc.drivers.run import unchecked
from tests.smc import smc_chain as chain

GRID, STEPS = jnp.asarray(chain.GRID), chain.STEPS
REWARD = np.array([0.9, -0.4, 0.2])
ENDS = np.exp(REWARD)


def source(estimate=True):
    """The enumerable chain, which takes the present state for its guess at the last."""
    guess = (lambda key, particle, t: particle) if estimate else None
    m = chain.MODEL
    return smc.FeynmanKac(
        m.draw, m.propose, m.log_potential, m.log_final, time_range=(jnp.zeros(()), jnp.float32(STEPS)), estimate=guess
    )


def table(values):
    leaf = jnp.asarray(values, jnp.float32)
    return lambda particle: leaf[particle["state"]]


def normalizers(model, rule, particles, runs, seed=5):
    """Ẑ of many independent populations, and the cumulative potentials' ramps where there are some."""
    one = lambda key: unchecked(key, model, GRID, particles, rule, None, "error")  # noqa: E731
    out = eqx.filter_jit(jax.vmap(one))(jax.random.split(jax.random.key(seed), runs))
    return np.exp(np.asarray(out.log_normalizer, np.float64)), out


def check_mean(model, rule, truth, particles=4, runs=2**15, bound=0.01):
    found, out = normalizers(model, rule, particles, runs)
    error = found.std() / np.sqrt(runs)
    print(
        f"E Ẑ/Z {found.mean() / truth:.4f} ± {error / truth:.4f}, resamplings {float(out.info.resamplings.mean()):.2f}"
    )
    assert abs(found.mean() - truth) <= 5.5 * error
    assert error <= bound * truth
    assert float(out.info.resamplings.mean()) > 0.5


WAYS = {
    **{name: {"potential": name} for name in POTENTIALS},
    "early": {"ramp": lambda s: jnp.minimum(2 * s, 1.0)},
    "falling": {"ramp": lambda s: 1 - s},
    "adaptive": {"ramp": smc.adaptive_ramp(0.8, lambda s: 1.0 + 0 * s)},
    "draws": {"estimate": "draws"},
    "learned": {"estimate": smc.learned(lambda particle, t: 0.3 * t * particle["label"])},
}


QUICK = ("difference", "adaptive")


@pytest.mark.parametrize("way", [w if w in QUICK else pytest.param(w, marks=pytest.mark.slow) for w in WAYS])
def test_every_potential_ramp_and_estimate_is_unbiased_at_four_particles(way):
    model = smc.rewarded(source(), table(REWARD), **WAYS[way])
    if way == "learned":
        model = dataclasses.replace(model, inner=_Labelled(source()))
    check_mean(model, chain.when(smc.systematic, 0.9), float(chain.exact() @ ENDS))


class _Labelled(smc.Wrapped):
    """Says what a particle's position is: the whole of it."""

    inner: smc.Model

    def within(self, inner):
        return _Labelled(inner)

    def position(self, particles):
        return particles


def ramps_of(model, key, particles, rule):
    """ρ after every step."""
    step, state, seen = eqx.filter_jit(smc.step), smc.init(key, model, particles, GRID[0]), []
    for t0, t1 in itertools.pairwise(GRID):
        state, _ = step(key, model, state, t0, t1, rule)
        seen.append(float(state.particles.ramp[0]))
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e2, 1e12])
def test_an_adaptive_ramp_rises_as_far_as_the_ess_allows_for_rewards_of_any_size(scale):
    rewards = scale * np.random.default_rng(2).exponential(size=300)
    args = [jnp.asarray(x, jnp.float32) for x in (np.zeros(300), rewards, 0.0, 1.0)]
    rise = float(smc.adaptive_ramp(0.9).solved(*args))
    w = np.exp(rise * (rewards - rewards.max()))
    assert abs(w.sum() ** 2 / (w**2).sum() / 300 - 0.9) <= 1e-3


@pytest.mark.slow
def test_an_adaptive_ramp_is_exactly_unbiased():
    """Three particles, resampled at every step, a ramp that truly varies: E Ẑ = Z within 0.3 %."""
    # A reward that adds to the spread of the chain's own potential: one that undoes it lets the ramp rise at once.
    reward = np.array([-0.7, 0.8, 0.1])
    model = smc.rewarded(source(), table(reward), ramp=smc.adaptive_ramp(0.95, lambda s: 1.0 + 0 * s))
    rule = chain.when(smc.multinomial, 2.0)
    seen = np.array([ramps_of(model, jax.random.key(k), 3, rule) for k in range(20)])
    assert seen[:, :2].std(axis=0).min() > 0.05
    truth = float(chain.exact() @ np.exp(reward))
    found, _ = normalizers(model, rule, 3, 2**21)
    error = found.std() / np.sqrt(found.size)
    print(f"E Ẑ/Z {found.mean() / truth:.5f} ± {error / truth:.5f}")
    assert error <= 0.001 * truth
    assert abs(found.mean() - truth) <= 0.003 * truth


def test_a_reward_of_minus_infinity_on_the_way_loses_no_path():
    """State 1 is forbidden at the end and free on the way: no path that leaves it may be lost."""
    forbids = np.array([0.3, -np.inf, 0.0])
    model = smc.rewarded(source(), table(forbids))
    check_mean(model, chain.when(smc.systematic, 0.9), float(chain.exact() @ np.exp(forbids)), bound=0.02)
    assert np.exp(np.asarray(floored(jnp.array([1.0, -jnp.inf, 3.0, -jnp.inf, 8.0]), jnp.float32(3.0)))).min() > 0.9
    assert floored(jnp.array([-jnp.inf, -jnp.inf]), jnp.float32(3.0)).tolist() == [0.0, 0.0]


def test_killing_on_the_way_is_seen(monkeypatch):
    """The planted bug: −∞ taken at its word before the end."""
    monkeypatch.setattr(
        importlib.import_module("fkdiff.smc.combinators._rewarded"), "floored", lambda estimates, depth: estimates
    )
    jax.clear_caches()
    with pytest.raises(AssertionError):
        test_a_reward_of_minus_infinity_on_the_way_loses_no_path()
    jax.clear_caches()


@pytest.mark.slow
def test_two_rewards_are_their_sum():
    second = np.array([-0.3, 0.5, 0.1])
    model = smc.rewarded(smc.rewarded(source(), table(REWARD)), table(second), ramp=smc.adaptive_ramp(0.8))
    check_mean(model, chain.when(smc.systematic, 0.9), float(chain.exact() @ np.exp(REWARD + second)))


def test_what_a_reward_needs_is_said_before_anything_runs():
    with pytest.raises(fk.FkdiffError, match="cannot estimate where its particles will end"):
        smc.run_smc(jax.random.key(0), smc.rewarded(source(False), table(REWARD)), GRID, 8)
    # following the sentence works
    out = smc.run_smc(jax.random.key(0), smc.rewarded(source(False), table(REWARD), potential="terminal"), GRID, 8)
    assert np.isfinite(float(out.log_normalizer))
    with pytest.raises(fk.FkdiffError, match="without time_range cannot say how far"):
        smc.rewarded(chain.MODEL, table(REWARD))


def test_every_hook_is_forwarded_once():
    """What a model may be asked, a wrapped one passes on; a combinator that forgets a hook would hide its model's."""
    hooks = {name for name in vars(smc.Model) if not name.startswith("_")}
    missing = hooks - set(vars(smc.Wrapped))
    assert not missing, f"Wrapped does not forward {missing}"


def leaves_by_identity(model):
    return [id(leaf) for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_array)) if leaf.size > 1]


PATH = fk.paths.variance_preserving()
PARAMS = {"w": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones(2)}


def network():
    form = fk.Parameterization(PATH, kind="velocity")
    return form.predictor(lambda p, x, t, c: p["w"] @ jnp.concatenate([x, t[None]]) + p["b"], PARAMS, (2,))


MODELS = {
    "steer": lambda p: fk.steer(p, fk.solvers.ddim(eta=1.0), lambda x: x[0]),
    "twisted": lambda p: fk.steer(p, fk.solvers.ddim(eta=1.0), lambda x: x[0], proposal="twisted"),
    "adaptive": lambda p: fk.steer(p, fk.solvers.ddim(eta=1.0), lambda x: x[0], smc.adaptive_ramp()),
    "inverse": lambda p: fk.inverse(
        p, fk.solvers.ddim(eta=1.0), fk.inverse_problems.matrix([[1.0, 0.5]]), jnp.ones(1), 0.3, proposal="dps"
    ),
    "anneal": lambda p: fk.correctors.anneal(p, 2.0).feynman_kac(),
    "rewarded anneal": lambda p: smc.rewarded(fk.correctors.anneal(p, 2.0).feynman_kac(), lambda x: x[0]),
    "unweighted": lambda p: smc.unweighted(fk.steer(p, fk.solvers.ddim(eta=1.0), lambda x: x[0])),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_network_is_held_once(name):
    """Gradients with respect to a model's leaves would split over copies."""
    found = leaves_by_identity(MODELS[name](network()))
    assert len(found) == len(set(found))
    assert all(found.count(id(leaf)) == 1 for leaf in jax.tree.leaves(PARAMS))


# Moves under a reward -----------------------------------------------------------------------------------------

MIXTURE = fk.targets.gaussian_mixture([[-2.0], [1.5]], [0.25, 0.64], [0.3, 0.7]).predictor(PATH)
TARGET = fk.correctors.anneal(MIXTURE, 2.0)
TIMES = fk.grid(12, PATH)


def kernel(t):
    return fk.mcmc.mala(lambda x: TARGET.log_density(x, t), 0.2)


def slope(x):
    return 1.5 * x[0]


@pytest.mark.slow
def test_rejuvenating_first_and_rewarding_first_are_the_same_run():
    base, rule = TARGET.feynman_kac(refresh=0), smc.adaptive(smc.systematic, 0.98)
    first = smc.rewarded(smc.rejuvenated(base, kernel, num_moves=2), slope)
    second = smc.rejuvenated(smc.rewarded(base, slope), kernel, num_moves=2)
    here, there = (smc.run_smc(jax.random.key(0), model, TIMES, 128, resample=rule) for model in (first, second))
    assert int(here.info.resamplings) >= 2
    assert np.array_equal(here.info.ancestors, there.info.ancestors)
    np.testing.assert_allclose(here.log_normalizer, there.log_normalizer, atol=1e-5)
    assert int(here.info.evaluations) == int(there.info.evaluations)


class Recounting(smc.Rejuvenated):
    """The planted bug: after its moves it computes cumulative potentials anew, and no weight knows."""

    def refresh(self, key, particles, t):
        moved = super().refresh(key, particles, t)
        question = self.inner.question(key, moved, t, False)
        return self.inner.settle(moved, jnp.zeros_like(moved.cumulative), question, t, False)[0]


@pytest.mark.slow
def test_a_potential_computed_anew_after_a_move_is_seen():
    base, rule, grid = TARGET.feynman_kac(noise=1.0), smc.systematic, fk.grid(32, PATH)
    right = smc.rejuvenated(smc.rewarded(base, slope), kernel, num_moves=2)
    wrong = Recounting(right.inner, right.kernel, right.where, 2, "resampled", (0, 0), None)
    line = np.linspace(-10, 10, 4001)
    log_q = np.asarray(jax.vmap(lambda x: TARGET.log_density(x[None], TIMES[-1]))(jnp.asarray(line, jnp.float32)))
    log_mass = log_q.astype(np.float64) + 1.5 * line + np.log(line[1] - line[0])
    truth = np.logaddexp.reduce(log_mass)
    found = [
        float(fk.replicate(jax.random.key(1), 4, model, grid, 1024, resample=rule).log_normalizer)
        for model in (right, wrong)
    ]
    print(f"log Z {truth:.3f}: moves {found[0]:.3f}, potentials computed anew {found[1]:.3f}")
    assert abs(found[0] - truth) <= 0.1
    assert abs(found[1] - truth) >= 0.2


@pytest.mark.slow
def test_freezing_fixes_control_and_ramp_together():
    """The pilot is that of the model as composed; what comes back looks at no population."""
    model = smc.rewarded(TARGET.feynman_kac(noise=1.0), slope, smc.adaptive_ramp(0.97))
    assert not model.independent
    frozen = smc.freeze(jax.random.key(2), model, TIMES, 256)
    assert isinstance(frozen, smc.Rewarded)
    assert frozen.independent
    shares = np.asarray(jax.vmap(lambda t: frozen.ramp(frozen.progress(t)))(TIMES))
    assert np.all(np.diff(shares) >= 0)
    assert shares[-1] <= 0.95  # where the cap is 1
    with pytest.raises(fk.FkdiffError, match="moves its particles together"):
        smc.conditional(model, TIMES, 8)
    kernel = smc.conditional(frozen, TIMES, 8)
    start = smc.trajectory(jax.random.key(3), frozen, TIMES, 8)
    _, info = kernel.step(jax.random.key(4), kernel.init(jax.random.key(5), start))
    assert int(info.status) == 0


# Costs --------------------------------------------------------------------------------------------------------

OPERATOR, SEEN = fk.inverse_problems.matrix([[1.0]]), jnp.ones(1)
ANCESTRAL = fk.solvers.ddim(eta=1.0)
COSTS = {  # (evaluations, jvps) per particle of 12 steps and the start, without resampling
    "chain": (lambda: fk.steering.chain(MIXTURE, ANCESTRAL), (13, 0)),
    "steer": (lambda: fk.steer(MIXTURE, ANCESTRAL, slope), (13, 0)),
    "steer, draws": (lambda: fk.steer(MIXTURE, ANCESTRAL, slope, estimate="draws"), (13, 0)),
    "twisted": (lambda: fk.steer(MIXTURE, ANCESTRAL, slope, proposal="twisted"), (13, 13)),
    "twisted, learned": (
        lambda: fk.steer(MIXTURE, ANCESTRAL, slope, proposal="twisted", estimate=smc.learned(lambda x, t: t * x[0])),
        (13, 0),
    ),
    "adapted": (lambda: fk.inverse(MIXTURE, ANCESTRAL, OPERATOR, SEEN, 0.5), (13, 0)),
    "dps": (lambda: fk.inverse(MIXTURE, ANCESTRAL, OPERATOR, SEEN, 0.5, proposal="dps"), (13, 13)),
    "tmpd": (lambda: fk.inverse(MIXTURE, ANCESTRAL, OPERATOR, SEEN, 0.5, proposal="tmpd"), (13, 26)),
    "anneal": (lambda: TARGET.feynman_kac(), (25, 24)),
    "rewarded anneal": (lambda: smc.rewarded(TARGET.feynman_kac(), slope), (38, 24)),
    "rewarded anneal, terminal": (lambda: smc.rewarded(TARGET.feynman_kac(), slope, potential="terminal"), (25, 24)),
}


@pytest.mark.parametrize("name", COSTS)
def test_costs_are_pinned(name):
    """What a run of 12 steps reports."""
    build, expected = COSTS[name]
    model = build()
    seen = []

    def trace(key):  # shapes are enough: nothing is compiled
        particles, log_weights, start = model.initial(key, 4, TIMES[0])
        step = model.move(key, particles, log_weights, TIMES[0], TIMES[1])[2]
        seen.append((start, step))
        return log_weights

    jax.eval_shape(trace, jax.random.key(0))
    ((start, step),) = seen
    assert (start.evaluations + 12 * step.evaluations, start.jvps + 12 * step.jvps) == expected
