"""Pictures hold what they were given, and refuse what is no picture."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import plot


@pytest.fixture(scope="module")
def out():
    walk = fk.FeynmanKac(
        initial=lambda key: (jax.random.normal(key, (64,)), jnp.array(0.0)),
        propose=lambda key, x, t0, t1: x,
        log_potential=lambda before, x, t0, t1: -0.4 * jnp.sum(x[:4] ** 2),
    )
    return fk.run_smc(jax.random.key(0), walk, jnp.linspace(0.0, 1.0, 5), num_particles=50)


def test_report_shows_the_run(out):
    figure = plot.report(out, title="a run")
    titles = [axes.get_title() for axes in figure.axes]
    assert f"{int(out.info.resamplings)} resamplings" in titles[0]
    assert "not measured" in titles[1]  # by no model but a corrector's
    measured = eqx.tree_at(lambda o: o.info.residual, out, jnp.full(4, 0.25))
    assert "R = 1.00" in plot.report(measured).axes[1].get_title()
    assert f"{len(np.unique(out.info.ancestors))} distinct ancestors" in titles[3]
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), np.asarray(out.info.ess) / 50, rtol=1e-6)
    counts = sum(patch.get_height() for patch in figure.axes[2].patches)
    assert counts == np.isfinite(out.log_weights).sum()
    figure.canvas.draw()


@pytest.mark.parametrize("shape", [(50,), (50, 1), (50, 2), (50, 7), (50, 8, 8), (50, 8, 8, 1), (50, 17)])
def test_report_draws_samples_of_any_shape(out, shape):
    plot.report(out, np.random.default_rng(0).normal(size=shape)).canvas.draw()


def test_pictures_are_laid_out_by_rows():
    images = np.arange(5)[:, None, None] * np.ones((5, 2, 3))
    (axes,) = plot.pictures(images, columns=3, limits=(0, 4)).axes
    sheet = np.asarray(axes.images[0].get_array())
    assert sheet.shape == (7, 13)
    assert [sheet[1, 1], sheet[1, 5], sheet[1, 9], sheet[4, 1], sheet[4, 5]] == [0, 1, 2, 3, 4]
    assert sheet[0, 0] == sheet[3, 2] == sheet[4, 9] == 2  # the lines, and the missing picture


def test_panels_share_one_scale():
    figure = plot.panels({"dark": np.zeros((2, 4, 4)), "light": np.full((3, 4, 4), 2.0)}, columns=2)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["dark", "light"]
    assert {axes.images[0].get_clim() for axes in figure.axes} == {(0.0, 2.0)}


@pytest.mark.parametrize("shape", [(4, 5), (0, 8, 8), (3, 8, 8, 3)])
def test_what_is_no_picture_is_refused(shape):
    with pytest.raises(fk.FkdiffError, match="pass"):
        plot.pictures(np.zeros(shape))
