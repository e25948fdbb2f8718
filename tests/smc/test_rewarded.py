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
def test_an_adaptive_ramp_is_exactly_unbiased():
    """Three particles, resampled at every step, a ramp that truly varies: E Ẑ = Z within 0.3 %."""
    model = smc.rewarded(source(), table(REWARD), ramp=smc.adaptive_ramp(0.9, lambda s: 1.0 + 0 * s))
    rule = chain.when(smc.multinomial, 2.0)
    seen = np.array([ramps_of(model, jax.random.key(k), 3, rule) for k in range(20)])
    assert seen[:, :2].std(axis=0).min() > 0.05
    truth = float(chain.exact() @ ENDS)
    found, _ = normalizers(model, rule, 3, 2**20)
    error = found.std() / 2**10
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
