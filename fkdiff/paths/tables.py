"""Paths read off the table that somebody else's model was trained on.

Between the entries the log-SNR is a monotone cubic (Fritsch and Carlson 1980), so that κ and its integral are
continuous and second-order steps keep their order.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import PchipInterpolator

from fkdiff.core import Array, FkdiffError, concrete, require
from fkdiff.paths.base import Path, invert_increasing


class Tabulated(Path):
    """A path through a table of log-SNR values; variance preserving, or exploding (α = 1)."""

    knots: Array
    coefficients: Array  # (4, knots − 1), highest power first, of the log-SNR
    t_min: Array
    t_max: Array
    preserving: bool = eqx.field(static=True)

    def _log_snr(self, t: Array) -> Array:
        # Entries are equally spaced in t; a piece that rounding puts one off joins its neighbour smoothly.
        last = self.knots.shape[0] - 1
        position = (t - self.knots[0]) / (self.knots[-1] - self.knots[0]) * last
        piece = jnp.clip(jnp.floor(position).astype(int), 0, last - 1)
        a, b, c, d = self.coefficients[:, piece]
        h = t - self.knots[piece]
        return ((a * h + b) * h + c) * h + d

    def log_alpha(self, t: Array) -> Array:
        return 0.5 * jax.nn.log_sigmoid(self._log_snr(t)) if self.preserving else jnp.zeros_like(t)

    def log_sigma(self, t: Array) -> Array:
        log_snr = self._log_snr(t)
        return 0.5 * jax.nn.log_sigmoid(-log_snr) if self.preserving else -0.5 * log_snr

    def time(self, log_snr: Array) -> Array:
        curve = jnp.vectorize(self._log_snr)
        t = jax.lax.stop_gradient(invert_increasing(curve, log_snr, self.t_min, self.t_max))
        # Bisection has no derivative; one Newton step, tiny in value, carries that of the inverse function.
        value, slope = jax.jvp(curve, (t,), (jnp.ones_like(t),))
        return t + (log_snr - value) / jax.lax.stop_gradient(slope)


def _tabulated(times: np.ndarray, log_snr: np.ndarray, preserving: bool) -> Tabulated:
    dtype = jnp.result_type(float)
    spline = PchipInterpolator(times, log_snr)
    return Tabulated(
        knots=jnp.asarray(times, dtype),
        coefficients=jnp.asarray(spline.c, dtype),
        t_min=jnp.asarray(times[0], dtype),
        t_max=jnp.asarray(times[-1], dtype),
        preserving=preserving,
    )


def _table(name: str, table) -> np.ndarray:
    values = concrete(table)
    if values is None:
        raise FkdiffError(f"{name} is being traced; a table is read once, outside jit: pass a concrete array.")
    values = np.asarray(values, np.float64)
    require(
        values.ndim == 1 and values.size >= 2,
        f"{name} has shape {values.shape}; pass the one-dimensional table of at least two training levels.",
    )
    require(
        bool(np.all(np.isfinite(values))),
        f"{name} has entries that are not finite; pass the table as trained.",
    )
    return values


def from_alphas_cumprod(table) -> Tabulated:
    """The variance-preserving path of a DDPM table ᾱ_k: α = √ᾱ, σ = √(1 − ᾱ) at t = 1 − k/K.

    Args:
        table: ᾱ, shape (K,), strictly decreasing in (0, 1): entry k is the table's own index, 0 the cleanest.

    References:
        Ho, Jain and Abbeel (2020), eq. 4.
    """
    values = _table("table", table)
    require(
        bool(np.all((values > 0) & (values < 1)) and np.all(np.diff(values) < 0)),
        "table must decrease strictly inside (0, 1), the cleanest level first, as alphas_cumprod does; "
        "reverse it or drop the end points.",
    )
    times = 1 - np.arange(values.size) / values.size
    return _tabulated(times[::-1], (np.log(values) - np.log1p(-values))[::-1], preserving=True)


def from_sigmas(table) -> Tabulated:
    """The variance-exploding path (α = 1) through a table of noise levels σ_k at t = 1 − k/K.

    Args:
        table: σ in the unit of the data, shape (K,), positive and strictly monotone in either direction.

    References:
        Karras, Aittala, Aila and Laine (2022), with x/α for their x.
    """
    values = _table("table", table)
    if values[0] > values[-1]:
        values = values[::-1]
    require(
        bool(np.all(values > 0) and np.all(np.diff(values) > 0)),
        "table must be positive and strictly monotone; sort the levels and drop repeated ones and zeros.",
    )
    times = 1 - np.arange(values.size) / values.size
    return _tabulated(times[::-1], -2 * np.log(values[::-1]), preserving=False)
