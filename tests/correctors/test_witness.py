"""Witnesses: the weighted flow run backwards, against the same flow run forwards and against Gaussians."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
import fkdiff.correctors as fkc
from fkdiff.correctors import population
from fkdiff.correctors._witness import Witnesses

PATH = fk.paths.variance_exploding()  # where constants grow, so that a dropped one shows
MIXTURE = fk.targets.gaussian_mixture([[-2.0], [1.5]], [0.25, 0.64], [0.3, 0.7])
NEVER = fk.smc.adaptive(fk.smc.systematic, 0.0)


def disagreement(known):
    """Largest gap between the weights of a run and those of its own particles as witnesses, and of their starts."""
    pred = MIXTURE.predictor(PATH)
    if not known:
        pred = fk.Predictor(path=PATH, rule=pred.rule, shape=pred.shape)
    target = fkc.tilt(fkc.anneal(pred, 1.6), lambda x: -0.4 * (x[0] - 1.0) ** 2)
    grid = fk.grid(64, PATH)
    model = fk.smc.freeze(jax.random.key(0), target.feynman_kac("rk4"), grid, 512)
    out = fk.run_smc(jax.random.key(1), model, grid, 256, resample=NEVER, collect=lambda x, w, t: x, safety=False)
    seen = fkc.witness(jax.random.key(2), model, out, out.particles)
    expected = out.log_weights - jax.nn.logsumexp(out.log_weights) + np.log(256)
    starts = np.asarray(out.collected[0])
    return np.max(np.abs(seen.log_excess - expected)), np.max(np.abs(seen.starts - starts)) / starts.std()


@pytest.mark.slow
@pytest.mark.parametrize("known", [pytest.param(True, marks=pytest.mark.slow), False])
def test_particles_weigh_as_witnesses_what_they_weighed_in_the_run(known):
    weights, starts = disagreement(known)
    assert weights <= 0.01
    assert starts <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize("what", ["growth", "start_weight", "start_constant"])
def test_a_forgotten_term_is_caught(what, monkeypatch):
    plain = getattr(population.Corrector, what)
    witness = sys.modules["fkdiff.correctors._witness"]  # the package's attribute of this name is the function
    backwards = witness._backwards

    def broken(*args):
        monkeypatch.setattr(population.Corrector, what, lambda self, *a: 0.0 * plain(self, *a))
        jax.clear_caches()
        return backwards(*args)

    monkeypatch.setattr(witness, "_backwards", broken)
    assert not disagreement(known=what == "start_weight")[0] <= 0.01
    jax.clear_caches()


@pytest.mark.slow
def test_gaussians_weigh_the_same_everywhere():
    path = fk.paths.cosine()
    target = fkc.anneal(fk.targets.gaussian([0.7, -0.4], 0.5).predictor(path), 2.0)
    target = target.with_reference(jnp.array([0.7, -0.4]), 0.5)
    model = target.feynman_kac("heun", control=False)
    out = fk.run_smc(jax.random.key(0), model, fk.grid(48, path), 64, safety=False)
    points = jnp.array([[0.7, -0.4], [3.0, 0.0], [-2.0, 2.5]])
    seen = fkc.witness(jax.random.key(1), model, out, points)
    assert np.max(np.abs(seen.log_excess)) <= 5e-3
    low, high = (np.asarray(path.alpha(t)) for t in (path.t_min, path.t_max))
    widths = [np.sqrt(a**2 * 0.5 + s**2) for a, s in ((low, path.sigma(path.t_min)), (high, path.sigma(path.t_max)))]
    mean = np.array([0.7, -0.4])
    expected = low * mean + widths[0] / widths[1] * (np.asarray(points) - high * mean)
    np.testing.assert_allclose(seen.starts, expected, atol=0.02)


def lost_mode(early):
    """A run on a squared mixture whose narrow mode holds half of the target, and `early` of it at the start."""
    path = fk.paths.variance_preserving()
    w = np.sqrt([1 - early, early])
    narrow = 0.25 * (early / (1 - early)) ** (2 / 8)
    means = np.zeros((2, 8))
    means[0, 0], means[1, 1] = 3.0, 3.0
    mixture = fk.targets.gaussian_mixture(means, [0.25, narrow], w / w.sum())
    model = fkc.anneal(mixture.predictor(path), 2.0).feynman_kac()
    out = fk.run_smc(jax.random.key(0), model, fk.grid(24, path), 1024, safety=False)
    draws = mixture.at(path, path.t_max).sample(jax.random.key(5), 512)
    share = float(jax.nn.softmax(out.log_weights) @ (out.particles[:, 1] > 1.5).astype(jnp.float32))
    return share, fkc.witness(jax.random.key(2), model, out, draws)


@pytest.mark.slow
def test_a_mode_that_no_particle_starts_in_is_found():
    share, seen = lost_mode(early=5e-4)
    assert share <= 0.35  # half of the mass is not there
    with pytest.warns(fk.FkdiffWarning, match="unseen-modes"):
        assert fk.check(seen) is seen
    share, seen = lost_mode(early=0.3)
    assert abs(share - 0.5) <= 0.1
    assert fk.check(seen) is seen


@pytest.mark.parametrize(
    "count, excess, alarm", [(2, 20.0, 0), (3, 20.0, 1), (3, np.nan, 1), (5, 5.0, 0), (30, 5.0, 1), (900, 4.0, 0)]
)
def test_an_alarm_takes_several_witnesses_that_outweigh_the_rest(count, excess, alarm):
    flat, values = np.zeros((1000, 1)), np.where(np.arange(1000) < count, excess, 0.0)
    seen = Witnesses(flat, flat, values, 4096)  # type: ignore[arg-type]
    assert 4 < seen.limit < 5
    assert len(seen.problems()[1]) == alarm


WRONG = {
    "noise": (lambda m, o: fkc.witness(jax.random.key(0), m("exponential", 1.0), o, jnp.zeros((3, 1))), "noise=0.0"),
    "shape": (lambda m, o: fkc.witness(jax.random.key(0), m(), o, jnp.zeros((3, 2))), "one witness per row"),
    "one point": (lambda m, o: fkc.witness(jax.random.key(0), m(), o, jnp.zeros(1)), "one witness per row"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_asked_is_refused(case):
    ask, words = WRONG[case]
    target = fkc.anneal(MIXTURE.predictor(PATH), 2.0)
    with pytest.raises(fk.FkdiffError, match=words):
        ask(target.feynman_kac, None)
