"""The driver: the law it reaches, reproducibility, cost, compilation, and what it refuses."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr

import fkdiff.paths as paths
from fkdiff import solvers
from fkdiff.core import Array, Transition
from fkdiff.errors import FkdiffError
from fkdiff.prediction import Parameterization, guide
from fkdiff.solvers import Solver, integrate
from fkdiff.targets import gaussian_mixture
from tests.solvers.mixture_law import MEANS, REFERENCE, VARIANCES, WEIGHTS, dkwm, ends, predictor

LAWS = {
    "vp, heun": ("variance_preserving", lambda: solvers.heun(), 64),
    "ve, reverse SDE": ("variance_exploding", lambda: solvers.euler(1.0), 200),
    # From here on in the slow tier alone.
    "linear, dpmpp": ("linear", lambda: solvers.dpmpp_2m(), 64),
    "cosine, exponential": ("cosine", lambda: solvers.exponential(1.0, REFERENCE), 200),
    "vp, ancestral": ("variance_preserving", lambda: solvers.ddim(1.0), 400),
    "linear, heun with noise": ("linear", lambda: solvers.heun(0.5), 200),
}


@pytest.mark.parametrize("name", list(LAWS)[:2])
def test_samples_follow_the_law_at_the_last_time(name):
    path_name, make, num_steps = LAWS[name]
    path = getattr(paths, path_name)()
    key, times = jax.random.key(30), paths.grid(num_steps, path)
    samples = integrate(key, predictor(path), make(), times, 2**14, reference=REFERENCE)
    assert dkwm(samples, *ends(path)) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", LAWS)
def test_samples_follow_the_law_to_one_percent(name):
    path_name, make, num_steps = LAWS[name]
    path = getattr(paths, path_name)()
    num_steps *= 4
    times = paths.grid(num_steps, path)
    samples = integrate(jax.random.key(31), predictor(path), make(), times, 2**17, reference=REFERENCE)
    assert dkwm(samples, *ends(path)) <= 1


class Stay(Solver):
    """Never moves: what comes back is the start."""

    noise: Array
    evaluations: ClassVar[int] = 1

    def step(self, pred, state, t0, t1):
        return Transition(state.x, self.noise), state


def test_the_start_is_gaussian_with_the_reference_noised():
    path = paths.linear(log_snr=(-1.0, 9.0))
    samples = integrate(
        jax.random.key(32), predictor(path), Stay(jnp.zeros(())), paths.grid(1, path), 2**14, reference=(0.7, 2.5)
    )
    alpha, sigma = float(path.alpha(path.t_min)), float(path.sigma(path.t_min))
    z = np.sort((np.asarray(samples, np.float64).ravel() - alpha * 0.7) / np.sqrt(alpha**2 * 2.5 + sigma**2))
    distance = np.abs(ndtr(z) - (np.arange(z.size) + 0.5) / z.size).max() + 0.5 / z.size
    assert distance <= np.sqrt(np.log(2e8) / (2 * z.size))


def test_a_sample_depends_on_its_index_alone():
    """Bitwise: not on how many there are, nor on how many at a time."""
    path = paths.variance_preserving()
    pred, times, key = predictor(path), paths.grid(5, path), jax.random.key(33)
    whole = integrate(key, pred, solvers.euler(1.0), times, 24)
    for count, chunk in ((24, 7), (11, None)):
        part = integrate(key, pred, solvers.euler(1.0), times, count, chunk=chunk)
        assert np.array_equal(part, whole[:count])
    assert not np.any(np.asarray(whole)[1:] == np.asarray(whole)[:-1])


def test_noise_differs_between_steps_and_samples():
    """A walk of pure noise: every increment of every sample is its own draw."""

    class Walk(Stay):
        def step(self, pred, state, t0, t1):
            return Transition(state.x, jnp.ones(())), state

    path = paths.linear()
    start = jnp.zeros((40, 1))
    args = jax.random.key(34), predictor(path), Walk(jnp.ones(())), paths.grid(30, path)
    last, track = integrate(*args, initial=start, collect=lambda state: state.x)
    increments = np.diff(np.concatenate([track[..., 0], last], axis=1), axis=1)
    assert np.unique(np.round(increments, 5)).size >= 0.99 * increments.size
    correlations = np.corrcoef(increments)[np.triu_indices(40, 1)]
    assert np.abs(correlations.mean()) <= 5 / np.sqrt(30 * correlations.size)
    along = (increments[:, 1:] * increments[:, :-1]).mean()
    assert np.abs(along) <= 5 / np.sqrt(increments.size)
    assert np.abs(increments.std() - 1) <= 5 / np.sqrt(2 * increments.size)


def test_a_second_call_traces_nothing():
    traces = []

    def apply(params, x, t, cond):
        traces.append(1)
        return params * x + (0.0 if cond is None else cond)

    def model(a):
        return Parameterization(paths.linear(), "clean").predictor(apply, jnp.asarray(a), (2,))

    times = paths.grid(4, paths.linear())
    pred = guide(model(0.5).given(1.0), model(0.4).given(0.0), 1.0)
    integrate(jax.random.key(0), pred, solvers.euler(0.3), times, 8)
    count = len(traces)
    assert count > 0
    for seed, scale, label, noise in ((1, 2.0, 3.0, 0.0), (2, 0, 4, 1)):
        pred = guide(model(0.1 * seed).given(float(label)), model(0.2).given(0.0), scale)
        integrate(jax.random.key(seed), pred, solvers.euler(noise), times * 0.9 + 0.05, 8, reference=(seed, 2))
    assert len(traces) == count


@pytest.mark.parametrize(("make", "calls"), [(solvers.euler, 5), (solvers.heun, 10), (solvers.dpmpp_2m, 5)])
@pytest.mark.parametrize("denoise", [False, True])
def test_no_evaluation_is_wasted(make, calls, denoise):
    """Counted where it happens: on the host, at run time."""
    times_seen = []

    def host(t):
        times_seen.append(float(t))
        return np.zeros((), np.float32)

    def apply(params, x, t, cond):
        return 0.5 * x + jax.pure_callback(host, jax.ShapeDtypeStruct((), jnp.float32), t)

    pred = Parameterization(paths.linear(), "clean").predictor(apply, None, ())
    times = paths.grid(5, paths.linear())
    jax.block_until_ready(integrate(jax.random.key(0), pred, make(), times, 1, denoise=denoise))
    assert len(times_seen) == calls + denoise


@pytest.mark.x64
def test_denoise_and_collect_report_the_model_where_it_was_asked():
    path = paths.cosine()
    pred, times = predictor(path), paths.grid(4, path)
    start = jnp.array([[0.4], [-1.1], [2.0]])
    args = jax.random.key(0), pred, solvers.heun(), times
    plain = integrate(*args, initial=start)
    clean, states = integrate(*args, initial=start, denoise=True, collect=lambda state: (state.x, state.prediction))
    at = jax.jit(jax.vmap(lambda x, t: pred(x, t)))
    assert jnp.abs(clean - at(plain, jnp.broadcast_to(times[-1], 3)).clean).max() <= 1e-12
    positions, predictions = states
    assert positions.shape == (3, 4, 1)
    assert np.array_equal(positions[:, 0], start)
    again = at(positions.reshape(12, 1), jnp.tile(times[:-1], 3))
    assert jnp.abs(predictions.score.reshape(12, 1) - again.score).max() <= 1e-9


@pytest.mark.x64
@pytest.mark.parametrize(
    "make", [lambda: solvers.ddim(1.0), pytest.param(lambda: solvers.dpmpp_2m(), marks=pytest.mark.slow)]
)
def test_gradients_through_the_driver_match_difference_quotients(make):
    path = paths.variance_preserving()
    times = paths.grid(6, path)

    @jax.jit
    def mean(shift):
        target = gaussian_mixture(jnp.asarray(MEANS)[:, None] + shift, VARIANCES, WEIGHTS)
        return integrate(jax.random.key(5), target.predictor(path), make(), times, 4).mean()

    slope = jax.jit(jax.grad(mean))(0.3)
    quotient = (mean(0.3 + 1e-5) - mean(0.3 - 1e-5)) / 2e-5
    assert abs(slope - quotient) <= 1e-7 * (1 + abs(quotient))


def test_the_driver_stands_inside_jit_and_vmap():
    path = paths.linear()
    pred, times = predictor(path), paths.grid(3, path)
    keys = jax.random.split(jax.random.key(6), 3)
    inside = jax.jit(jax.vmap(lambda key: integrate(key, pred, solvers.euler(0.5), times, 4)))(keys)
    outside = jnp.stack([integrate(key, pred, solvers.euler(0.5), times, 4) for key in keys])
    assert jnp.abs(inside - outside).max() <= 1e-5


def test_a_traced_grid_that_goes_back_gives_nan():
    path = paths.linear()
    pred = predictor(path)
    run = jax.jit(lambda times: integrate(jax.random.key(0), pred, solvers.euler(), times, 4))
    assert np.all(np.isfinite(run(jnp.array([0.1, 0.5, 0.9]))))
    assert np.all(np.isnan(run(jnp.array([0.1, 0.9, 0.5]))))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"grid": jnp.array([0.9, 0.5])}, "increase strictly"),
        ({"grid": jnp.array([0.0, 0.5])}, "outside"),
        ({"num_samples": 0}, "num_samples=0"),
        ({"num_samples": 2.5}, "num_samples=2.5"),
        ({"chunk": 0}, "chunk=0"),
        ({"initial": jnp.zeros((4, 2))}, "initial has shape"),
        ({"initial": jnp.zeros(1)}, "initial has shape"),
        ({"reference": (0.0, -1.0)}, "reference"),
        ({"reference": 1.0}, "reference"),
    ],
)
def test_what_cannot_be_run_is_refused(change, words):
    path = paths.linear()
    settings = {"grid": jnp.array([0.1, 0.5]), "num_samples": 4, **change}
    with pytest.raises(FkdiffError, match=words):
        integrate(jax.random.key(0), predictor(path), solvers.euler(), **settings)
