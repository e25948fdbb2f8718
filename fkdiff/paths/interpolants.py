"""Two-sided stochastic interpolants x_t = a(t) start + b(t) clean + γ(t) noise, from one law of data to another.

The start is not noise but data too: a blurred picture, last week's forecast, a draw of another model, paired with the
clean example in any way. Latent noise, gone at both ends, smooths what lies between, so that a score exists and any
amount of noise may be used at sampling time.

References: Albergo, Boffi and Vanden-Eijnden (2023), Stochastic interpolants, definition 2.1; Albergo et al. (2024) for
pairs that depend on each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, NoReturn

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, FkdiffError, Scalar, choose, number, require
from fkdiff.paths.base import Path

SHARES: dict[str, Callable[[Array], tuple[Array, Array]]] = {
    "linear": lambda t: (1 - t, t),
    "trigonometric": lambda t: (jnp.cos(0.5 * jnp.pi * t), jnp.sin(0.5 * jnp.pi * t)),
}
LATENT: dict[str, Callable[[Array], Array]] = {
    "bridge": lambda t: jnp.sqrt(2 * t * (1 - t)),
    "quadratic": lambda t: t * (1 - t),
    "sine": lambda t: jnp.sin(jnp.pi * t) ** 2,
}


class Mix(NamedTuple):
    """a, b and γ, or their derivatives, at one time; all scalars."""

    start: Array
    clean: Array
    noise: Array


class Interpolant(Path):
    """See `interpolant`. It has a velocity and a score, and no log-SNR: use the solvers `euler` and `heun`.

    `kappa` is γ², at which a noise level ν of a solver adds √(2νγ²) dW and ν γ² of the score: finite at both ends.
    """

    scale: Array
    t_min: Array
    t_max: Array
    shares: str = eqx.field(static=True)
    latent: str = eqx.field(static=True)

    def mix(self, t: Scalar) -> Mix:
        """a, b and γ."""
        t = jnp.asarray(t, jnp.result_type(float))
        return Mix(*SHARES[self.shares](t), self.scale * LATENT[self.latent](t))

    def mix_rates(self, t: Scalar) -> Mix:
        """Their derivatives."""
        t = jnp.asarray(t, jnp.result_type(float))
        return jax.jvp(self.mix, (t,), (jnp.ones_like(t),))[1]

    def between(self, start: Array, clean: Array, noise: Array, t: Scalar) -> Array:
        """x_t."""
        a, b, gamma = self.mix(t)
        return a * start + b * clean + gamma * noise

    def kappa(self, t: Scalar) -> Array:
        """γ²."""
        return self.mix(t).noise ** 2

    def _refuse(self, what: str) -> NoReturn:
        raise FkdiffError(
            f"a two-sided interpolant has no {what}: it starts from draws and not from noise. Sample it by "
            "fkdiff.integrate(…, fkdiff.solvers.heun(noise=ν), grid, initial=starts), with "
            'fkdiff.grid(n, path, "uniform").'
        )

    def log_alpha(self, t: Array) -> Array:
        self._refuse("α")

    def log_sigma(self, t: Array) -> Array:
        self._refuse("σ")

    def time(self, log_snr: Array) -> Array:
        self._refuse("log-SNR")


def interpolant(shares: str = "linear", latent: str = "bridge", scale: Scalar = 1.0, cut: float = 1e-3) -> Interpolant:
    """x_t = a(t) start + b(t) clean + γ(t) noise.

    Args:
        shares: "linear" (a, b = 1 − t, t) or "trigonometric" (cos ½πt, sin ½πt, which keeps unit variances).
        latent: γ/scale: "bridge" √(2t(1 − t)), "quadratic" t(1 − t) or "sine" sin² πt.
        scale: Of γ, positive, in the unit of the data. With "bridge" and "linear", scale² is the variance 2ε of a
            Brownian bridge between the pair.
        cut: Times run from `cut` to 1 − `cut`: at the ends γ vanishes, and the score with it grows without bound.
    """
    choose("shares", shares, SHARES)
    choose("latent", latent, LATENT)
    require(0 < cut < 0.5, f"cut={cut} must lie strictly between 0 and ½; the usual value is 1e-3.")
    scale = number("scale", scale, 1e-12, action="the size of the latent noise, in the unit of the data")
    leaf = jnp.result_type(float)
    return Interpolant(
        t_min=jnp.asarray(cut, leaf), t_max=jnp.asarray(1 - cut, leaf), scale=scale, shares=shares, latent=latent
    )
