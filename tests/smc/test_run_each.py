"""One run per condition: the same as one by one, traced once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import smc
from fkdiff.core import Status
from fkdiff.errors import FkdiffError
from tests.smc import walks

KEY = jax.random.key(0)
CONDITIONS = {"sharpness": np.array([1.0, 4.0, 20.0], np.float32), "centre": np.array([1.0, -0.5, 0.3], np.float32)}
BUILT = []


def build(condition):
    BUILT.append(1)
    return walks.model(**condition)


def test_equal_to_runs_one_by_one_and_traced_once():
    rule = smc.adaptive(smc.systematic, 0.9)
    out = smc.run_each(KEY, build, CONDITIONS, walks.GRID, 64, resample=rule)
    assert len(BUILT) == 1
    assert out.log_normalizer.shape == (3,)
    assert out.particles.shape == (3, 64, 2)
    assert out.scheme == "systematic"
    resampled = np.asarray(out.info.resampled)
    assert resampled.any()
    assert not resampled.all()
    for i in range(3):
        condition = {name: float(values[i]) for name, values in CONDITIONS.items()}
        alone = smc.run_smc(jax.random.fold_in(KEY, i), walks.model(**condition), walks.GRID, 64, resample=rule)
        row = jax.tree.map(lambda leaf, i=i: leaf[i], out)
        assert np.allclose(row.particles, alone.particles, atol=1e-5)
        assert np.allclose(row.log_weights, alone.log_weights, atol=1e-4)
        assert abs(float(row.log_normalizer - alone.log_normalizer)) <= 1e-5
        assert row.info.ancestors.tolist() == alone.info.ancestors.tolist()
        assert str(row) == str(alone)
    smc.run_each(jax.random.key(1), build, jax.tree.map(lambda a: a + 0.1, CONDITIONS), walks.GRID, 64, resample=rule)
    assert len(BUILT) == 1


@pytest.mark.slow
def test_rows_do_not_depend_on_each_other():
    few = jax.tree.map(lambda a: a[:2], CONDITIONS)
    runs = [smc.run_each(KEY, build, c, walks.GRID, 32, chunk=5) for c in (few, CONDITIONS)]
    assert np.array_equal(runs[0].particles, runs[1].particles[:2])
    assert not np.array_equal(runs[1].particles[0], runs[1].particles[1])


@pytest.mark.slow
def test_evidence_of_each_condition():
    out = smc.run_each(KEY, build, CONDITIONS, walks.GRID, 4096)
    for i in range(3):
        exact = walks.exact_log_normalizer(walks.GRID, CONDITIONS["sharpness"][i], CONDITIONS["centre"][i])
        row = jax.tree.map(lambda leaf, i=i: leaf[i], out)
        error = float(smc.log_normalizer_error(row).standard_error)
        assert abs(float(row.log_normalizer) - exact) <= 6 * error
        assert error <= 0.2


@pytest.mark.slow
def test_rewards_of_a_steered_model_and_a_late_grid():
    path = fk.paths.variance_preserving()
    pred = fk.targets.gaussian_mixture([[-2.0], [1.5]], [0.25, 0.64], [0.3, 0.7]).predictor(path)

    def steered(strength):
        return fk.steer(pred, fk.solvers.ddim(eta=1.0), lambda x: x[0], strength=strength)

    grid = fk.grid(6, path)
    out = smc.run_each(KEY, steered, jnp.asarray([-1.0, 1.0]), grid, 128, collect=lambda x, l, t: x.mean())
    means = [float(smc.normalized(out.log_weights[i]) @ out.particles[i, :, 0]) for i in range(2)]
    assert means[0] < -0.5 < 0.5 < means[1]
    assert out.collected.shape == (2, 7)
    late = smc.run_each(KEY, steered, jnp.asarray([-1.0, 1.0]), grid[2:], 16)
    assert late.info.status.tolist() == [Status.BAD_GRID] * 2


@pytest.mark.parametrize(
    "change, sentence",
    [
        (
            {"conditions": {"a": np.zeros(3), "b": np.zeros(2)}},
            r"must share one leading axis, .* 3 in conditions\['a'\]",
        ),
        ({"conditions": 1.0}, r"conditions has shape \(\); give one row for each population"),
        ({"conditions": None}, "conditions=None holds no array"),
        ({"conditions": np.zeros((0, 2))}, "of at least one row, and have 0 in conditions"),
        ({"build": walks.model()}, "is not a function; pass build"),
        ({"build": lambda c: c, "conditions": np.zeros(2, np.float32)}, "pass a FeynmanKac"),
        ({"grid": [1.0, 0.0]}, "grid must increase strictly"),
        ({"num_particles": 1}, "num_particles=1 must be"),
        ({"key": 3}, "key must be a typed random key"),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(change, sentence):
    arguments = {"key": KEY, "build": build, "conditions": CONDITIONS, "grid": walks.GRID, "num_particles": 8} | change
    with pytest.raises(FkdiffError, match=sentence):
        smc.run_each(**arguments)


def test_a_resampler_beside_the_model_s_own_is_refused():
    """Waste-free moves resample in blocks: another resampler gave log Z −0.29 and −1.19 for −0.08, without a word."""

    def density(x):
        return -0.5 * jnp.sum(x**2)

    def build(c):
        def sample(key):
            return jax.random.normal(key, (2,))

        move = lambda f: fk.mcmc.mala(f, 0.3)  # noqa: E731
        return smc.tempering(density, lambda x: c * density(x), sample, move, waste_free=4)

    grid, cs = jnp.linspace(0.0, 1.0, 5), jnp.array([0.5, 1.0])
    with pytest.raises(FkdiffError, match="resamples in its own way"):
        smc.run_each(KEY, build, cs, grid, 32, resample=smc.adaptive(smc.systematic, 0.5))


@pytest.mark.slow
def test_a_model_s_own_resampler_is_used_in_every_row():
    def density(x):
        return -0.5 * jnp.sum(x**2)

    def build(c):
        def sample(key):
            return jax.random.normal(key, (2,))

        move = lambda f: fk.mcmc.mala(f, 0.3)  # noqa: E731
        return smc.tempering(density, lambda x: c * density(x), sample, move, waste_free=4)

    grid, cs = jnp.linspace(0.0, 1.0, 5), jnp.array([0.5, 1.0])
    each = smc.run_each(KEY, build, cs, grid, 32)
    alone = smc.run_smc(jax.random.fold_in(KEY, 1), build(cs[1]), grid, 32)
    np.testing.assert_allclose(each.log_normalizer[1], alone.log_normalizer, atol=1e-5)
