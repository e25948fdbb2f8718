"""The engine's bookkeeping: deterministic identities, independence of chunking, no needless compilation."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fkdiff import smc
from fkdiff.errors import FkdiffError
from tests.smc import walks
from tests.smc.engine_checks import check_compensated_constants, check_keys

KEY = jax.random.key(0)
GRID = jnp.asarray(walks.GRID)


class Scripted(eqx.Module):
    """Resamples before steps 2 and 4 with ancestors that are written down."""

    def __call__(self, key, log_weights):
        ancestors = jnp.asarray([2, 2, 0, 3], jnp.int32)
        now = log_weights[0] > log_weights[1]
        identity = jnp.arange(4, dtype=jnp.int32)
        return jnp.where(now, ancestors, identity), jnp.where(now, 0.0, log_weights), now


def recursion(grid, x, log_weights, script):
    """A plain NumPy loop over what `Deterministic` does."""
    x, log_weights = np.array(x), np.array(log_weights)
    log_z, lineage, resamplings = 0.0, np.arange(len(x)), 0
    for t0, t1 in itertools.pairwise(grid):
        if log_weights[0] > log_weights[1]:
            log_z += np.log(np.mean(np.exp(log_weights)))
            x, lineage, log_weights = x[script], lineage[script], np.zeros(len(x))
            resamplings += 1
        new = 0.7 * x + t1 - 0.2 * t0
        log_weights = log_weights + np.sin(3 * x + 7 * t0) - 0.2 * new * t1
        x = new
        log_z += 0.25 * t1
    log_weights = log_weights + 0.1 * x
    return x, log_weights, log_z + np.log(np.mean(np.exp(log_weights))), lineage, resamplings


@pytest.mark.x64
def test_bookkeeping_against_a_numpy_loop():
    start, first = np.array([0.4, -1.0, 0.3, 2.0]), np.array([0.2, -0.3, 0.5, -1.0])

    def move(key, x, log_weights, t0, t1):
        new = 0.7 * x + t1 - 0.2 * t0
        return new, jnp.sin(3 * x + 7 * t0) - 0.2 * new * t1, smc.MoveInfo(log_constant=0.25 * t1)

    def initial(key, num_particles, t):
        return jnp.asarray(start), jnp.asarray(first), smc.MoveInfo()

    model = smc.Population(initial, move, final=lambda x: 0.1 * x, extract=lambda x: {"x": x})
    out = smc.run_smc(KEY, model, walks.GRID, 4, resample=Scripted())
    x, log_weights, log_z, lineage, resamplings = recursion(
        np.asarray(GRID, np.float64), start, first, np.array([2, 2, 0, 3])
    )
    assert 0 < resamplings < 5
    assert np.allclose(out.particles["x"], x, atol=1e-6, rtol=0)
    assert np.allclose(out.log_weights, log_weights, atol=1e-6, rtol=0)
    assert abs(out.log_normalizer - log_z) <= 1e-6
    assert out.info.ancestors.tolist() == lineage.tolist()
    assert int(out.info.resamplings) == resamplings
    assert abs(out.info.ess[-1] - np.exp(log_weights).sum() ** 2 / np.exp(2 * log_weights).sum()) <= 1e-5


def test_chunk_changes_no_bit():
    resample = smc.adaptive(smc.systematic, 0.9)
    whole = smc.run_smc(KEY, walks.model(), GRID, 64, resample=resample)
    parts = smc.run_smc(KEY, walks.model(), GRID, 64, resample=resample, chunk=7)
    assert bool(whole.info.resampled.any())
    assert jnp.array_equal(whole.particles, parts.particles)
    assert jnp.array_equal(whole.log_weights, parts.log_weights)
    assert jnp.array_equal(whole.info.ancestors, parts.info.ancestors)
    assert jnp.array_equal(whole.info.resampled, parts.info.resampled)
    # Sums over particles are compiled into one with the model, and may round differently.
    assert abs(whole.log_normalizer - parts.log_normalizer) <= 1e-6


def test_particles_are_keyed_by_their_index():
    never = smc.adaptive(smc.systematic, 0.0)
    few, many = (smc.run_smc(KEY, walks.model(), GRID, n, resample=never).particles for n in (5, 64))
    assert np.allclose(few, many[:5], atol=1e-6)
    assert len(np.unique(np.asarray(many)[:, 0])) == 64


def test_steps_by_hand_make_the_same_run():
    resample = smc.adaptive(smc.systematic, 0.9)
    out = smc.run_smc(KEY, walks.model(), GRID, 64, resample=resample)
    step = eqx.filter_jit(smc.step)
    model = walks.model()
    state = eqx.filter_jit(smc.init)(KEY, model, 64, GRID[0])
    happened = []
    for t0, t1 in itertools.pairwise(GRID):
        state, info = step(KEY, model, state, t0, t1, resample)
        happened.append(bool(info.resampled))
    assert happened == out.info.resampled.tolist()
    assert state.ancestors.tolist() == out.info.ancestors.tolist()
    assert np.allclose(state.particles, out.particles, atol=1e-5)


def test_a_second_call_traces_nothing():
    model = walks.model()
    before = len(walks.TRACES)
    smc.run_smc(KEY, model, GRID, 24, resample=smc.adaptive(smc.systematic, 0.5))
    count = len(walks.TRACES)
    assert count > before
    changed = eqx.tree_at(lambda m: (m.propose_one.__self__.sharpness,), model, (jnp.float32(9.0),))
    smc.run_smc(jax.random.key(9), changed, GRID * 0.5, 24, resample=smc.adaptive(smc.systematic, 0.7))
    assert len(walks.TRACES) == count


def test_inside_jit_and_vmap():
    def log_z(key, centre):
        return smc.run_smc(key, walks.model(centre=centre), GRID, 64).log_normalizer

    keys = jax.random.split(KEY, 3)
    mapped = jax.jit(jax.vmap(log_z, (0, None)))(keys, jnp.float32(0.5))
    alone = jnp.stack([log_z(key, jnp.float32(0.5)) for key in keys])
    assert np.allclose(mapped, alone, atol=1e-5)


def test_every_use_has_a_key_of_its_own():
    check_keys()


def test_refresh_runs_only_after_a_resampling():
    def initial(key, num_particles, t):
        return jnp.zeros((num_particles, 2)), jnp.zeros(num_particles), smc.MoveInfo(evaluations=1)

    def move(key, x, log_weights, t0, t1):
        # Weights collapse in steps that end after 0.4, so that the next ones resample.
        slope = jnp.where(t1 > 0.4, 50.0, 0.0)
        info = smc.MoveInfo(evaluations=10, jvps=jnp.int32(3), residual=t1 - t0)
        return x.at[:, 0].add(1.0), slope * jnp.linspace(0.0, 1.0, x.shape[0]), info

    def refresh(key, x, t):
        return x.at[:, 1].add(1.0 + 0.0 * jax.random.uniform(key))

    model = smc.Population(initial, move, refresh=refresh, refresh_cost=(100, 1000))
    out = smc.run_smc(KEY, model, GRID, 8)
    assert out.info.resampled.tolist() == [False, False, False, True, True]
    assert (np.asarray(out.particles) == np.array([5.0, 2.0])).all()
    assert int(out.info.evaluations) == 1 + 5 * 10 + 2 * 100
    assert int(out.info.jvps) == 5 * 3 + 2 * 1000
    assert abs(out.info.R - 1.0) <= 1e-6


def test_collect_sees_every_time():
    def collect(particles, log_weights, t):
        return {"mean": particles.mean(axis=0), "t": t, "last": log_weights}

    model = eqx.tree_at(lambda m: m.extract_one, walks.model(), lambda x: 2 * x, is_leaf=lambda x: x is None)
    out = smc.run_smc(KEY, model, GRID, 64, collect=collect)
    assert out.collected["mean"].shape == (6, 2)
    assert jnp.array_equal(out.collected["t"], GRID)
    assert np.allclose(out.collected["mean"][-1], out.particles.mean(axis=0))
    assert jnp.array_equal(out.collected["last"][-1], out.log_weights)


def test_constants_are_summed_with_compensation():
    check_compensated_constants()


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"num_particles": 0}, "num_particles=0 must be a whole number of at least 2"),
        ({"num_particles": 1}, "num_particles=1 must be"),
        ({"num_particles": 2.5}, "num_particles=2.5 must be"),
        ({"grid": []}, r"grid has shape \(0,\)"),
        ({"grid": [0.0]}, r"grid has shape \(1,\)"),
        ({"grid": [0.0, 0.5, 0.5]}, "grid must increase strictly"),
        ({"grid": [1.0, 0.0]}, "grid must increase strictly"),
        ({"grid": [0.0, float("nan")]}, "grid must increase strictly"),
        ({"chunk": 0}, "chunk=0 must be a whole number"),
        ({"on_nan": "ignore"}, 'on_nan="ignore" is neither'),
        ({"key": 0}, "jax.random.key"),
        ({"key": jax.random.split(KEY)}, r"key has shape \(2,\)"),
        ({"model": lambda x: x}, "model is a function, <lambda>; pass a FeynmanKac"),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(change, sentence):
    arguments = {"key": KEY, "model": walks.model(), "grid": GRID, "num_particles": 8} | change
    with pytest.raises(FkdiffError, match=sentence):
        smc.run_smc(**arguments)


def test_chunk_of_a_population_is_refused():
    with pytest.raises(FkdiffError, match="chunk=4 has no effect on a Population"):
        smc.run_smc(KEY, smc.Population(None, None), GRID, 8, chunk=4)


@pytest.mark.parametrize(
    "name, function, sentence",
    [
        ("potential_one", lambda a, b, t0, t1: b, r"log_potential of a move has shape \(8, 2\) for 8 particles"),
        ("potential_one", lambda a, b, t0, t1: jnp.int32(0), "has dtype int32; a log-potential is a floating number"),
        ("final_one", lambda x: x, r"log_final has shape \(8, 2\)"),
        ("initial_one", lambda key: (jnp.zeros(2), jnp.zeros(1)), r"log_g0 of the initial draw has shape \(8, 1\)"),
    ],
)
def test_wrong_shapes_are_refused_in_a_sentence(name, function, sentence):
    model = eqx.tree_at(lambda m: getattr(m, name), walks.model(), function, is_leaf=lambda x: x is None)
    with pytest.raises(FkdiffError, match=sentence):
        smc.run_smc(KEY, model, GRID, 8)


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda x: {"x": x}, r"a move turned particles of f32\[8,2\] into {'x': f32\[8,2\]}; both must have"),
        (lambda x: x.astype(jnp.int32), r"a move turned particles of f32\[8,2\] into i32\[8,2\]"),
        (lambda x: x[:, 0], r"a move turned particles of f32\[8,2\] into f32\[8\]"),
    ],
)
def test_moves_that_change_the_particle_are_refused_in_a_sentence(change, sentence):
    def initial(key, num_particles, t):
        return jnp.zeros((num_particles, 2)), jnp.zeros(num_particles), smc.MoveInfo()

    def move(key, x, log_weights, t0, t1):
        return change(x), jnp.zeros_like(log_weights), smc.MoveInfo()

    with pytest.raises(FkdiffError, match=sentence):
        smc.run_smc(KEY, smc.Population(initial, move), GRID, 8)


def test_a_grid_outside_the_model_is_refused():
    with pytest.raises(FkdiffError, match=r"outside the model's times \[0.2, 0.8\]"):
        smc.run_smc(KEY, smc.Population(None, None, time_range=(0.2, 0.8)), GRID, 8)
