"""Planted bugs: every check must reject the ones named here, or it is no check."""

import contextlib

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from fkdiff import smc
from fkdiff.core import Array
from fkdiff.smc import engine, one_particle, state
from fkdiff.smc.resamplers import ancestors, resampling
from fkdiff.smc.results import evidence
from tests.smc import engine_checks
from tests.smc import resampler_tables as tables
from tests.smc import smc_chain as chain

pytestmark = pytest.mark.slow


@pytest.fixture
def plant(monkeypatch):
    """Replaces a function by a wrong one and forgets what was compiled."""

    def replace(module, name, wrong):
        monkeypatch.setattr(module, name, wrong)
        chain.forget()

    yield replace
    monkeypatch.undo()
    chain.forget()


@contextlib.contextmanager
def rejected():
    with pytest.raises(AssertionError):
        yield


ALWAYS = chain.when(smc.systematic, 2.0)
SOMETIMES = chain.when(smc.multinomial, 0.6)
NEVER = chain.when(smc.multinomial, 0.0)


def test_nothing_planted_passes():
    chain.check_unbiased(ALWAYS)
    chain.check_unbiased(SOMETIMES)
    tables.check_decision(smc.adaptive, smc.systematic)


def living(log_weights: Array) -> Array:
    return jnp.maximum((log_weights > -jnp.inf).sum(), 1).astype(log_weights.dtype)


MEANS = {
    "missing −log N": jax.nn.logsumexp,
    "the dead are not counted": lambda l: jax.nn.logsumexp(l) - jnp.log(living(l)),
    "mean of logarithms": lambda l: jnp.where(l > -jnp.inf, l, 0.0).sum() / living(l),
    "largest instead of mean": jnp.max,
}


@pytest.mark.parametrize("bug", MEANS)
def test_wrong_means(plant, bug):
    plant(engine, "log_mean_exp", MEANS[bug])
    with rejected():
        chain.check_unbiased(SOMETIMES)


def test_weights_not_reset_after_resampling(plant):
    outcome = resampling.outcome

    def kept(chosen, log_weights):
        chosen, _, resampled = outcome(chosen, log_weights)
        return chosen, log_weights, resampled

    plant(resampling, "outcome", kept)
    with rejected():
        chain.check_unbiased(ALWAYS)
    with rejected():
        tables.check_decision(smc.adaptive, smc.systematic)


def test_weights_reset_without_resampling(plant):
    plant(
        resampling.Adaptive,
        "__call__",
        lambda self, key, l: (jnp.arange(4, dtype=jnp.int32), 0 * l, jnp.asarray(False)),
    )
    with rejected():
        chain.check_unbiased(NEVER)


def test_increment_dropped_at_a_resampling(plant):
    right = engine._resample

    def dropped(key, model, state, t, resample):
        after, resampled = right(key, model, state, t, resample)
        return eqx.tree_at(lambda s: s.log_normalizer, after, state.log_normalizer), resampled

    plant(engine, "_resample", dropped)
    with rejected():
        chain.check_unbiased(ALWAYS)


def test_particles_not_gathered(plant):
    plant(engine, "take", lambda tree, chosen: (tree[0], tree[1][chosen]))
    with rejected():
        chain.check_unbiased(ALWAYS)


def test_half_of_a_particle_gathered(plant):
    def half(tree, chosen):
        particles, lineage = tree
        return {"state": particles["state"][chosen], "label": particles["label"]}, lineage[chosen]

    plant(engine, "take", half)
    with rejected():
        chain.check_unbiased(ALWAYS)


def test_ancestors_off_by_one(plant):
    plant(engine, "take", lambda tree, chosen: jax.tree.map(lambda leaf: leaf[(chosen + 1) % 4], tree))
    with rejected():
        chain.check_unbiased(ALWAYS)


def test_lineage_not_gathered(plant):
    plant(engine, "take", lambda tree, chosen: (jax.tree.map(lambda leaf: leaf[chosen], tree[0]), tree[1]))
    chain.check_unbiased(ALWAYS)  # the law is right, its error is not
    with rejected():
        chain.check_lee_whiteley(chain.when(smc.multinomial, 2.0))


def test_increments_overwrite_the_weights(plant):
    right = engine.weigh

    def overwritten(state, increments, on_nan, status):
        fresh = eqx.tree_at(lambda s: s.log_weights, state, jnp.zeros_like(state.log_weights))
        return right(fresh, increments, on_nan, status)

    plant(engine, "weigh", overwritten)
    with rejected():
        chain.check_unbiased(NEVER)


@pytest.mark.parametrize("bug", ["flipped sign", "forgotten"])
def test_wrong_increments(plant, bug):
    right = engine.weigh
    factor = -1.0 if bug == "flipped sign" else 0.0
    plant(engine, "weigh", lambda state, g, *rest: right(state, jnp.where(g > -jnp.inf, factor * g, g), *rest))
    with rejected():
        chain.check_unbiased(NEVER)


@pytest.mark.parametrize("late", [0, 1], ids=["both ends at t0", "both ends at t1"])
def test_time_index_off_by_one(plant, late):
    right = one_particle.OneParticle.move

    def shifted(self, key, particles, log_weights, t0, t1):
        t = (t0, t1)[late]
        return right(self, key, particles, log_weights, t, t)

    plant(one_particle.OneParticle, "move", shifted)
    with rejected():
        chain.check_unbiased(NEVER)


def test_potential_of_the_particle_before_the_move(plant):
    right = chain.MODEL.log_potential
    early = eqx.tree_at(lambda m: m.potential_one, chain.MODEL, lambda a, b, t0, t1: right(a, a, t0, t1))
    with rejected():
        chain.check_unbiased(NEVER, population=early)


@pytest.mark.parametrize("bug", ["final", "log_g0"])
def test_an_end_is_forgotten(plant, bug):
    if bug == "final":
        population = eqx.tree_at(lambda m: m.final_one, chain.MODEL, lambda x: jnp.float32(0))
    else:
        right = chain.MODEL.draw
        population = eqx.tree_at(lambda m: m.initial_one, chain.MODEL, lambda key: (right(key)[0], jnp.float32(0)))
    with rejected():
        chain.check_unbiased(NEVER, population=population)


def test_one_key_for_every_step(plant):
    plant(engine, "_step_key", lambda key, number: key)
    with rejected():
        chain.check_unbiased(NEVER)
    with rejected():
        engine_checks.check_keys()


def test_one_key_for_two_uses(plant):
    plant(engine, "stream", lambda key, use: key)
    with rejected():
        engine_checks.check_keys()


def test_grid_off_by_one(plant):
    right = ancestors._split
    plant(ancestors, "_split", lambda x: (right(x)[0] - 1, right(x)[1]))
    with rejected():
        tables.check_systematic_table()
    with rejected():
        tables.check_mean_counts(smc.systematic)


def test_the_wrong_side_of_a_tie(plant):
    def closed(u, log_weights):
        cdf, positive = ancestors.cumulative(log_weights)
        stratum, rest = ancestors._split(4 * cdf)
        return ancestors.from_counts(ancestors._whole(stratum + (u <= rest).astype(jnp.int32), cdf, 4), positive, 4)

    plant(ancestors, "systematic_ancestors", closed)
    with rejected():
        tables.check_systematic_table()


def test_offset_fixed_at_one_half(plant):
    right = ancestors.systematic_ancestors
    plant(ancestors, "systematic_ancestors", lambda u, l: right(jnp.full_like(u, 0.5), l))
    with rejected():
        tables.check_mean_counts(smc.systematic)


def test_uniforms_shared_by_strata(plant):
    right = ancestors.stratified_ancestors
    plant(ancestors, "stratified_ancestors", lambda u, l: right(jnp.roll(jnp.full_like(u, 0.5), 1), l))
    with rejected():
        tables.check_mean_counts(smc.stratified)


def test_weights_read_from_their_logarithms(plant):
    plant(ancestors, "shifted", lambda l: jnp.where(l > -jnp.inf, l - jnp.where(l > -jnp.inf, l, 0.0).min() + 0.1, 0.0))
    for scheme in chain.SCHEMES:
        with rejected():
            tables.check_mean_counts(scheme)


def test_the_dead_are_chosen(plant):
    right = ancestors.from_counts
    plant(ancestors, "from_counts", lambda below, positive, n: jnp.maximum(right(below, positive, n) - 1, 0))
    with rejected():
        tables.check_counts(ancestors.systematic_ancestors, (), 1)


@pytest.mark.parametrize("bug", ["inverted", "not strict", "of logarithms"])
def test_wrong_decisions(plant, bug):
    right = resampling.ess
    wrong = {
        "inverted": lambda l: l.shape[0] - right(l),
        "not strict": lambda l: right(l) * (1 - 1e-6),
        "of logarithms": lambda l: l.sum() ** 2 / (l**2).sum(),
    }
    plant(resampling, "ess", wrong[bug])
    with rejected():
        tables.check_decision(smc.adaptive, smc.systematic)


def test_sum_without_compensation(plant, monkeypatch):
    for module in (engine, state):
        plant(module, "compensated_add", lambda total, compensation, term: (total + term, compensation))
    monkeypatch.setattr(smc, "run_smc", lambda key, model, grid, n: trajectory_of(key, model, grid, n))
    with rejected():
        engine_checks.check_compensated_constants()


def trajectory_of(key, model, grid, num_particles):
    from fkdiff.smc.drivers.run import unchecked

    return jax.jit(lambda key: unchecked(key, model, grid, num_particles, smc.systematic, None, "error"))(key)


def test_gradient_dropped_by_resampling(plant):
    with rejected():
        chain.check_gradient(smc.detached(chain.when(smc.stratified, 2.0)))


@pytest.mark.parametrize("shift", [-1, 1])
def test_wrong_number_of_resamplings_in_the_variance(plant, shift):
    right = evidence.relative_variance

    def counted(out):
        resampled = jnp.concatenate([out.info.resampled, jnp.ones(1, bool)]) if shift > 0 else out.info.resampled[1:]
        return right(eqx.tree_at(lambda o: o.info.resampled, out, resampled))

    plant(evidence, "relative_variance", counted)
    with rejected():
        chain.check_lee_whiteley(chain.when(smc.multinomial, 2.0))
