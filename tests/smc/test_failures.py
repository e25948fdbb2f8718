"""Numerical events: each has its status, its step, its count and its first index; none is turned into a number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import smc
from fkdiff.core import Status
from fkdiff.errors import FkdiffError, FkdiffWarning

KEY = jax.random.key(0)
GRID = jnp.linspace(0.0, 1.0, 5)


def initial(key, num_particles, t):
    return jnp.zeros(num_particles), jnp.zeros(num_particles), smc.MoveInfo()


class Spoiled(smc.Model):
    """Adds `value` to the log-weights of the `chosen` particles at one step; one compiled program for all tests."""

    chosen: jax.Array
    number: jax.Array
    value: jax.Array

    def initial(self, key, num_particles, t):
        return initial(key, num_particles, t)

    def move(self, key, x, log_weights, t0, t1):
        return x, jnp.where(self.chosen & (jnp.round(t1 * 4) == self.number), self.value, 0.0), smc.MoveInfo()


def spoiled(particles, number, value):
    """Eight particles, some of which receive `value` at one step."""
    return Spoiled(jnp.asarray([i in particles for i in range(8)]), jnp.float32(number), jnp.float32(value))


def test_minus_infinity_for_some_is_legal():
    out = fk.check(smc.run_smc(KEY, spoiled([0, 2, 3, 5], 2, -jnp.inf), GRID, 8))
    # ESS is 4 of 8, not below one half: nothing is resampled and the dead count in the mean.
    assert abs(out.log_normalizer - np.log(0.5)) <= 1e-6
    assert np.isneginf(out.log_weights).tolist() == [True, False, True, True, False, True, False, False]
    out = smc.run_smc(KEY, spoiled([0, 2, 3, 5, 6], 2, -jnp.inf), GRID, 8)
    assert abs(out.log_normalizer - np.log(3 / 8)) <= 1e-6
    assert set(out.info.ancestors.tolist()) == {1, 4, 7}
    assert (np.asarray(out.log_weights) == 0).all()


def test_extinction():
    out = smc.run_smc(KEY, spoiled(range(8), 3, -jnp.inf), GRID, 8)
    assert (int(out.info.status), int(out.info.status_step)) == (Status.EXTINCT, 3)
    assert out.log_normalizer == -np.inf
    assert out.info.ess.tolist() == [8, 8, 8, 0, 0]
    with pytest.raises(
        FkdiffError, match=r"the run failed at step 3 of 4 \(t = 0.75\): every particle has weight zero"
    ):
        fk.check(out)
    with pytest.raises(FkdiffError, match="nothing to draw from: every particle has weight zero"):
        smc.resample(KEY, out, 3)
    assert "every particle has weight zero" in str(out)


@pytest.mark.parametrize(
    "resample", [None, smc.systematic, smc.multinomial], ids=["adaptive", "systematic", "multinomial"]
)
def test_nan_is_reported_and_stays(resample):
    out = smc.run_smc(KEY, spoiled([3, 6, 7], 2, jnp.nan), GRID, 8, resample=resample)
    info = out.info
    assert (int(info.status), int(info.status_step), int(info.bad_count), int(info.bad_index)) == (Status.NAN, 2, 3, 3)
    assert np.isnan(out.log_normalizer)
    sentence = (
        r"at step 2 of 4 \(t = 0.5\), 3 of 8 particles, the first with index 3: a log-weight or a particle became NaN"
    )
    with pytest.raises(FkdiffError, match=sentence):
        fk.check(out)


def test_nan_may_be_killed_and_is_counted():
    out = smc.run_smc(KEY, spoiled([3, 6, 7], 2, jnp.nan), GRID, 8, on_nan="kill")
    assert int(out.info.killed) == 3
    assert int(out.info.status) == Status.OK
    assert abs(out.log_normalizer - np.log(5 / 8)) <= 1e-6
    with pytest.warns(FkdiffWarning) as caught:
        fk.check(out)
    assert any("3 NaN weights were set to zero" in str(w.message) and "biased" in str(w.message) for w in caught)
    out = smc.run_smc(KEY, spoiled(range(8), 2, jnp.nan), GRID, 8, on_nan="kill")
    assert int(out.info.status) == Status.EXTINCT


def test_plus_infinity():
    out = smc.run_smc(KEY, spoiled([5], 4, jnp.inf), GRID, 8, on_nan="kill")
    assert (int(out.info.status), int(out.info.status_step), int(out.info.bad_index)) == (Status.INFINITE, 4, 5)
    with pytest.raises(FkdiffError, match=r"index 5: a log-weight became \+inf"):
        fk.check(out)


def test_the_first_failure_is_kept():
    def move(key, x, log_weights, t0, t1):
        late = jnp.where(t1 > 0.6, jnp.nan, 0.0)
        status = jnp.where(t1 > 0.4, jnp.int32(Status.NOT_NORMALISABLE), jnp.int32(Status.OK))
        return x, jnp.full_like(x, late), smc.MoveInfo(status=status)

    out = smc.run_smc(KEY, smc.Population(initial, move), GRID, 8)
    assert (int(out.info.status), int(out.info.status_step)) == (Status.NOT_NORMALISABLE, 2)


def test_failures_at_the_start_and_the_end_are_seen():
    bad_start = smc.Population(
        lambda k, n, t: (jnp.zeros(n), jnp.full(n, jnp.nan), smc.MoveInfo()), spoiled([0], 9, 0.0).move
    )
    out = smc.run_smc(KEY, bad_start, GRID, 8)
    assert (int(out.info.status), int(out.info.status_step), int(out.info.bad_count)) == (Status.NAN, 0, 8)
    with pytest.raises(FkdiffError, match=r"at the initial draw \(t = 0\), 8 of 8"):
        fk.check(out)
    out = smc.run_smc(KEY, bad_start, GRID, 8, on_nan="kill")
    assert (int(out.info.status), int(out.info.killed)) == (Status.EXTINCT, 8)
    bad_end = smc.Population(initial, spoiled([0], 9, 0.0).move, final=lambda x: jnp.full_like(x, -jnp.inf))
    out = smc.run_smc(KEY, bad_end, GRID, 8)
    assert (int(out.info.status), int(out.info.status_step)) == (Status.EXTINCT, 4)


def test_nan_positions_matter_only_with_mass():
    def move(key, x, log_weights, t0, t1):
        broken = jnp.arange(x.shape[0]) < 2
        return jnp.where(broken, jnp.nan, x), jnp.where(broken, fate, 0.0), smc.MoveInfo()

    fate = -jnp.inf
    out = smc.run_smc(KEY, smc.Population(initial, move), GRID, 8)
    assert int(out.info.status) == Status.OK
    assert smc.expectation(out, lambda x: x).value == 0
    fate = 0.0
    out = smc.run_smc(KEY, smc.Population(initial, lambda *a: move(*a)), GRID, 8)
    assert (int(out.info.status), int(out.info.bad_count)) == (Status.NAN, 2)


def test_the_dead_stay_dead():
    def move(key, x, log_weights, t0, t1):
        first = jnp.arange(x.shape[0]) == 0
        return x, jnp.where(first, jnp.where(t1 < 0.3, -jnp.inf, jnp.nan), 0.0), smc.MoveInfo()

    out = smc.run_smc(KEY, smc.Population(initial, move), GRID, 8)
    assert int(out.info.status) == Status.OK
    assert out.log_weights[0] == -np.inf


def test_a_traced_grid_that_does_not_increase():
    times = jnp.asarray([0.0, 0.5, 0.4, 1.0, 1.1])
    out = jax.jit(lambda grid: smc.run_smc(KEY, spoiled([0], 9, 0.0), grid, 8))(times)
    assert (int(out.info.status), int(out.info.status_step)) == (Status.BAD_GRID, 2)


def test_check_wants_one_concrete_run():
    with pytest.raises(FkdiffError, match="holds a batch of shape"):
        fk.check(jax.tree.map(lambda leaf: leaf[None], smc.run_smc(KEY, spoiled([0], 9, 0.0), GRID, 8)))
    with pytest.raises(FkdiffError, match="only outside jit"):
        jax.jit(lambda k: fk.check(smc.run_smc(k, spoiled([0], 9, 0.0), GRID, 8)))(KEY)
