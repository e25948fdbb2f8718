"""Paths read off tables: they reproduce the path they were sampled from, and refuse what is not a table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff.paths as paths
from fkdiff.errors import FkdiffError


@pytest.mark.x64
@pytest.mark.parametrize("size", [50, 400])
def test_a_table_of_the_linear_schedule_is_that_schedule(size):
    """Exact at the entries, and of third order between them (the log-SNR has a logarithm at t = 1)."""
    whole = paths.variance_preserving(log_snr=(-12.0, 30.0))
    entries = 1 - np.arange(1, size) / size  # k = 1 … K − 1 of the table with ᾱ_0 just below 1
    table = np.array([1 - 1e-9, *np.asarray(jax.jit(jax.vmap(whole.alpha))(entries)) ** 2])
    path = paths.from_alphas_cumprod(table)
    assert abs(path.t_min - 1 / size) <= 1e-14
    assert abs(path.t_max - 1) <= 1e-14
    gap = jax.jit(jax.vmap(lambda t: jnp.abs(path.log_snr(t) - whole.log_snr(t))))
    assert gap(entries).max() <= 1e-10
    # Away from the first entries, where the table says nothing about the way to ᾱ = 1.
    between = np.linspace(1 / size, 1 - 10 / size, 97)
    assert gap(between).max() <= 8e-3 * (50 / size) ** 2


@pytest.mark.x64
@pytest.mark.parametrize("flip", [False, True])
def test_a_geometric_table_is_the_exploding_path(flip):
    size = 64
    sigmas = 0.05 * (20 / 0.05) ** (np.arange(size) / size)
    path = paths.from_sigmas(sigmas[::-1] if flip else sigmas)
    whole = paths.variance_exploding(0.05, 20.0)
    of = lambda p: jax.jit(jax.vmap(lambda t: jnp.stack([p.sigma(t), p.kappa(t), p.alpha(t)])))(times)  # noqa: E731
    times = jnp.linspace(1 / size, 1, 41)
    assert jnp.abs(of(path) / of(whole) - 1).max() <= 1e-8


@pytest.mark.x64
def test_entry_k_sits_at_one_minus_k_over_size():
    """The index that a model of that table expects is K(1 − t): off by one would show here."""
    table = np.cumprod(1 - np.linspace(1e-3, 0.05, 30))
    path = paths.from_alphas_cumprod(table)
    alphas = jax.jit(jax.vmap(path.alpha))(1 - np.arange(30) / 30)
    assert np.abs(np.asarray(alphas) ** 2 - table).max() <= 1e-12


@pytest.mark.x64
def test_kappa_is_continuous_across_entries():
    table = np.cumprod(1 - np.linspace(1e-3, 0.05, 30))
    path = paths.from_alphas_cumprod(table)
    kappa = jax.jit(jax.vmap(path.kappa))
    inner = 1 - np.arange(1, 29) / 30
    left, right = (np.asarray(kappa(inner + shift)) for shift in (-1e-9, 1e-9))
    assert np.abs(left / right - 1).max() <= 1e-6


GOOD = np.cumprod(1 - np.linspace(1e-3, 0.05, 30))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (GOOD[::-1], "decrease"),
        ([0.9, 0.9, 0.5], "decrease"),
        ([1.0, 0.5], "inside"),
        ([0.5, 0.0], "inside"),
        ([0.5], "two"),
        ([[0.9, 0.5]], "one-dimensional"),
        ([0.9, float("nan"), 0.1], "finite"),
    ],
)
def test_what_is_not_a_table_of_signal_shares_is_refused(table, words):
    with pytest.raises(FkdiffError, match=words):
        paths.from_alphas_cumprod(table)


@pytest.mark.parametrize("table", [[0.0, 1.0], [1.0, 1.0], [1.0, 3.0, 2.0], [-1.0, 1.0]])
def test_what_is_not_a_table_of_noise_levels_is_refused(table):
    with pytest.raises(FkdiffError, match="positive and strictly monotone"):
        paths.from_sigmas(table)


def test_a_traced_table_is_refused():
    with pytest.raises(FkdiffError, match="outside jit"):
        jax.jit(lambda table: paths.from_sigmas(table).t_min)(jnp.array([1.0, 2.0]))


def test_a_float32_table_of_a_thousand_levels_is_accepted():
    path = paths.from_alphas_cumprod(jnp.cumprod(1 - jnp.linspace(1e-4, 0.02, 1000)))
    assert np.isfinite(jax.jit(lambda t: path.kappa(t))(path.t_max))
    assert np.all(np.diff(paths.grid(50, path)) > 0)
