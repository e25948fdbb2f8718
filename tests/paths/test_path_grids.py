"""Time grids: ends, monotony, spacings, and what is refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff.paths as paths
from fkdiff.core import Status
from fkdiff.errors import FkdiffError
from fkdiff.paths.grids import check_grid, grid_status

PATHS = {
    "vp": paths.variance_preserving,
    "cosine": paths.cosine,
    "ve": paths.variance_exploding,
    "linear": paths.linear,
    "table": lambda: paths.from_alphas_cumprod(np.cumprod(1 - np.linspace(5e-4, 0.1, 200))),
}


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("spacing", ["logsnr", "uniform", "power"])
def test_a_grid_runs_from_end_to_end(name, spacing):
    path = PATHS[name]()
    counts = (1, 2, 3, 200)
    grids = eqx.filter_jit(lambda path: [paths.grid(count, path, spacing=spacing) for count in counts])(path)
    for num_steps, times in zip(counts, grids, strict=True):
        assert times.shape == (num_steps + 1,)
        assert times[0] == path.t_min
        assert times[-1] == path.t_max
        assert np.all(np.diff(times) > 0)
        check_grid(times, path)


@pytest.mark.x64
@pytest.mark.parametrize("name", PATHS)
def test_spacings_are_what_they_say(name):
    path = PATHS[name]()
    even = {
        "logsnr": path.log_snr,
        "uniform": lambda t: t,
        "power": lambda t: (path.sigma(t) / path.alpha(t)) ** (1 / 7),
    }
    for spacing, function in even.items():
        sizes = np.diff(jax.jit(jax.vmap(function))(paths.grid(12, path, spacing=spacing)))
        assert np.ptp(sizes) <= 1e-9 * np.abs(sizes).max(), spacing


@pytest.mark.parametrize("num_steps", [0, -3, 2.5, "8"])
def test_a_count_that_is_none_is_refused(num_steps):
    with pytest.raises(FkdiffError, match="num_steps"):
        paths.grid(num_steps, paths.linear())


def test_spacing_and_rho_are_checked():
    with pytest.raises(FkdiffError, match='did you mean "logsnr"'):
        paths.grid(4, paths.linear(), spacing="logsrn")
    with pytest.raises(FkdiffError, match="rho"):
        paths.grid(4, paths.linear(), spacing="power", rho=0.0)


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ([0.5], "two or more times"),
        ([[0.2, 0.5]], "two or more times"),
        ([0.5, 0.2], "increase strictly"),
        ([0.2, 0.2, 0.5], "increase strictly"),
        ([0.2, float("nan"), 0.5], "increase strictly"),
        ([0.0, 0.5], "outside"),
        ([0.5, 1.0], "outside"),
    ],
)
def test_what_is_not_a_walk_through_the_path_is_refused(times, words):
    with pytest.raises(FkdiffError, match=words):
        check_grid(jnp.array(times), paths.linear())


def test_a_traced_grid_is_judged_by_its_status():
    verdict = jax.jit(lambda times: grid_status(check_grid(times, paths.linear())))
    assert verdict(jnp.array([0.2, 0.4])) == Status.OK
    assert verdict(jnp.array([0.4, 0.2])) == Status.BAD_GRID
    assert verdict(jnp.array([0.4, jnp.nan])) == Status.BAD_GRID


@pytest.mark.x64
def test_a_grid_is_differentiable_in_the_path():
    """d/dβ_max of the middle time, against a difference quotient."""

    def middle(beta_max):
        path = eqx.tree_at(lambda p: p.beta_max, paths.variance_preserving(), beta_max)
        return paths.grid(2, path)[1]

    at = jnp.asarray(20.0)
    quotient = (middle(at + 1e-5) - middle(at - 1e-5)) / 2e-5
    assert abs(jax.grad(middle)(at) - quotient) <= 1e-7 * (1 + abs(quotient))
