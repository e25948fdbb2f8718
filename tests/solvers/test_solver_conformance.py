"""One row per solver; every check below applies to each."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff.paths as paths
from fkdiff import solvers
from fkdiff.errors import FkdiffError
from fkdiff.prediction import Parameterization
from fkdiff.targets import gaussian_mixture

# name -> (constructor from a noise level, a noise level or None if deterministic)
ROWS = {
    "euler": (solvers.euler, 0.0),
    "euler, noise": (solvers.euler, 0.7),
    "heun": (solvers.heun, 0.0),
    "heun, noise": (solvers.heun, 0.7),
    "ddim": (solvers.ddim, 0.0),
    "ddim, eta": (solvers.ddim, 0.7),
    "ddim, ancestral": (solvers.ddim, 1.0),
    "dpmpp_2m": (lambda noise: solvers.dpmpp_2m(), 0.0),
    "exponential, noise": (solvers.exponential, 0.7),
    "exponential": (solvers.exponential, 0.0),
    "ancestral, auto": (lambda noise: solvers.ancestral(), 1.0),
    "ancestral": (lambda noise: solvers.ancestral("model"), 1.0),
    "ancestral, diagonal": (lambda noise: solvers.ancestral("diagonal"), 1.0),
    "ancestral, reference": (lambda noise: solvers.ancestral("reference", (0.3, 2.0)), 1.0),
}
rows = pytest.mark.parametrize("name", ROWS)


def build(name):
    make, noise = ROWS[name]
    return make(noise), noise


def mixture(path, means=((-2.0, 0.4), (1.5, -1.0))):
    target = gaussian_mixture(jnp.asarray(means), [0.25, 0.64], [0.3, 0.7])
    return target.predictor(path)


def two_steps(key, pred, solver, x, times):
    """Two steps with their states, as a driver takes them."""
    state = solver.init(pred, x, times[0], key)
    scales = []
    for k in range(2):
        transition, state = solver.step(pred, state, times[k], times[k + 1])
        step_key = jax.random.fold_in(key, k)
        state = solver.arrive(pred, transition.sample(step_key), times[k + 1], state.memory, step_key)
        scales.append(transition.scale)
    return state.x, jnp.stack(scales)


@rows
def test_one_trace_one_law_for_key_position_grid_and_noise(name):
    """Compiled once for every key, position, grid, noise level and parameter; finite everywhere."""
    solver, noise = build(name)
    path = paths.variance_preserving()
    traces = []

    @eqx.filter_jit
    def run(key, pred, solver, x, times):
        traces.append(1)
        return two_steps(key, pred, solver, x, times)

    x, times = jnp.array([0.3, -1.2]), jnp.array([0.2, 0.5, 0.6])
    first, scales = run(jax.random.key(0), mixture(path), solver, x, times)
    again, _ = run(jax.random.key(0), mixture(path), solver, x, times)
    other_key, _ = run(jax.random.key(1), mixture(path), solver, x, times)
    moved, _ = run(jax.random.key(0), mixture(path, ((-1.0, 0.4), (1.1, 2.0))), solver, x, times)
    run(jax.random.key(0), mixture(path), ROWS[name][0](0.5 * noise), x + 1, times + 0.1)
    assert len(traces) == 1
    assert np.array_equal(first, again)  # same key, same result
    assert np.array_equal(first, other_key) == (noise == 0)  # the key is used iff there is noise
    assert not np.array_equal(first, moved)
    if noise == 0:
        assert np.all(scales == 0)
    else:
        assert np.all(scales > 0)
    assert (float(solver.noise) == 0) == (noise == 0)


@pytest.mark.parametrize("path_name", ["variance_preserving", "linear", "variance_exploding"])
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row[1] in (0, 1)])
def test_gradients_are_finite_at_both_ends(name, path_name):
    """In position, both times, parameters and noise level, over the first and the last step of a grid."""
    path = getattr(paths, path_name)()
    times = paths.grid(6, path)
    form = Parameterization(path, "noise")

    def apply(params, x, t, cond):
        return jnp.tanh(params * x + t)

    def total(x, t0, t1, params, noise):
        pred, solver = form.predictor(apply, params, (2,)), ROWS[name][0](noise)
        transition, state = solver.step(pred, solver.init(pred, x, t0), t0, t1)
        state = solver.arrive(pred, transition.mean, t1, state.memory)
        return state.x.sum() + transition.scale.sum() + state.prediction.clean.sum()

    over_ends = jax.vmap(jax.value_and_grad(total, (0, 1, 2, 3, 4)), (None, 0, 0, None, None))
    both = jax.jit(jax.vmap(over_ends, (None, None, None, None, 0)))
    ends = jnp.array([times[0], times[-2]]), jnp.array([times[1], times[-1]])
    levels = jnp.array([0.0, 0.7, 1.0])
    for leaf in jax.tree.leaves(both(jnp.array([0.3, -1.2]), *ends, jnp.asarray(0.8), levels)):
        assert np.all(np.isfinite(leaf))


@pytest.mark.parametrize(
    "name", ["euler, noise", "heun, noise", "ddim, eta", "dpmpp_2m", "exponential, noise", "ancestral"]
)
def test_vmap_equals_loop(name):
    solver, _ = build(name)
    pred = mixture(paths.linear())
    positions, times = jax.random.normal(jax.random.key(3), (5, 2)), jnp.array([0.2, 0.5, 0.6])
    keys = jax.random.split(jax.random.key(4), 5)
    one = jax.jit(lambda key, x: two_steps(key, pred, solver, x, times)[0])
    together = jax.jit(jax.vmap(lambda key, x: two_steps(key, pred, solver, x, times)[0]))(keys, positions)
    alone = jnp.stack([one(key, x) for key, x in zip(keys, positions, strict=True)])
    assert jnp.abs(together - alone).max() <= 2e-6 * (1 + jnp.abs(alone).max())


@rows
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_shape_and_dtype_are_kept_and_calls_are_counted(name, shape):
    solver, _ = build(name)
    calls = []

    def apply(params, x, t, cond):
        calls.append(1)
        return 0.5 * x

    pred = Parameterization(paths.linear(), "clean").predictor(apply, None, shape)

    def step(x):
        state = solver.init(pred, x, 0.3, jax.random.key(0))
        assert len(calls) == 1
        transition, moved = solver.step(pred, state, 0.3, 0.4)
        assert moved.x is state.x  # `step` proposes; only `arrive` moves
        assert moved.prediction is state.prediction
        arrived = solver.arrive(pred, transition.mean, 0.4, moved.memory, jax.random.key(1))
        shapes = [jax.tree.map(jnp.shape, s.memory) for s in (state, moved, arrived)]
        assert shapes == [jax.tree.map(jnp.shape, solver.memory(x))] * 3  # a scan carries it
        return transition

    transition = jax.eval_shape(step, jnp.ones(shape))
    assert len(calls) == 1 + solver.evaluations
    assert transition.mean.shape == shape
    assert transition.scale.shape == (shape if "diagonal" in name else ())
    assert transition.mean.dtype == transition.scale.dtype == jnp.float32
    with jax.enable_x64(True):
        calls.clear()
        solver, pred = build(name)[0], Parameterization(paths.linear(), "clean").predictor(apply, None, shape)
        transition = jax.eval_shape(step, jnp.ones(shape))
        assert transition.mean.dtype == transition.scale.dtype == jnp.float64


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: solvers.euler(-0.1), "noise=-0.1"),
        (lambda: solvers.heun(float("nan")), "noise=nan"),
        (lambda: solvers.exponential(-1.0), "noise=-1.0"),
        (lambda: solvers.ddim(1.1), "eta=1.1"),
        (lambda: solvers.ddim(-0.1), "eta=-0.1"),
        (lambda: solvers.exponential(1.0, 2.0), "reference=2.0"),
        (lambda: solvers.exponential(1.0, (0.0, -1.0)), "reference variance=-1"),
        (lambda: solvers.ancestral("models"), 'did you mean "model"'),
        (lambda: solvers.ancestral("reference", (0.0, -1.0)), "reference variance=-1"),
    ],
)
def test_impossible_numbers_are_refused(make, words):
    with pytest.raises(FkdiffError, match=words):
        make()
