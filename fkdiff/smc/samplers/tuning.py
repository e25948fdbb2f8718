"""Moves whose step size, mass and number the population itself decides.

At every temperature the inverse mass is the weighted variance (or covariance) of the population; the step size follows
the mean acceptance of N particles, which is known at once and hardly noisy; and moves are repeated until the particles
have come far enough from where they stood:

    (1/d) mean_i Σ_j (x_ij − x⁰_ij)² / var_j  ≥  jump        (2 for an independent draw)

All of this looks at the population that it moves, so log Z has a bias of order 1/N; `fkdiff.smc.pilot` freezes it.

References: Fearnhead and Taylor (2013); Buchholz, Chopin and Jacob (2021).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Kernel, LogDensity, PyTree, Scalar, choose, number, raveled, require, whole, widened
from fkdiff.smc.weights import ess, normalized

GAIN = 2.0  # of log step size per unit of acceptance above its target, per move


class Tuned(eqx.Module):
    """See `tuned`."""

    make: Callable[[LogDensity, Array, PyTree], Kernel]
    step_size: Array
    acceptance: Array
    jump: Array
    max_moves: int = eqx.field(static=True)
    mass: str = eqx.field(static=True)


class Setting(NamedTuple):
    """What a tuned kernel is made with.

    Attributes:
        step_size: Scalar.
        inverse_mass: (d,) or (d, d), over the flattened position.
    """

    step_size: Array
    inverse_mass: Array


def tuned(
    make: Callable[[LogDensity, Array, PyTree], Kernel],
    step_size: Scalar = 0.5,
    acceptance: Scalar = 0.7,
    jump: Scalar = 1.0,
    max_moves: int = 50,
    mass: str = "diagonal",
) -> Tuned:
    """A move for `fkdiff.smc.tempering` whose step size, mass and number are tuned from the population.

    Args:
        make: `make(log_density, step_size, inverse_mass) -> Kernel`, such as
            `lambda f, h, mass: fkdiff.mcmc.hmc(f, h, 5, mass)`.
        step_size: The first, for a target of unit variance; adapted from there.
        acceptance: Mean acceptance to aim at, in (0, 1): about 0.23 for a random walk, 0.57 for MALA, 0.7 for HMC.
        jump: Moves are repeated until the mean squared jump per dimension, in variances, reaches this; 2 is what
            independent draws reach.
        max_moves: The most moves at one temperature.
        mass: "diagonal" or "dense"; the second is shrunk towards the first where particles are few.

    Raises:
        FkdiffError: An argument is wrong.

    References: Fearnhead and Taylor (2013); Buchholz, Chopin and Jacob (2021), section 3.
    """
    require(callable(make), f"make={make!r} is not a function; pass make(log_density, step_size, inverse_mass).")
    choose("mass", mass, dict.fromkeys(("diagonal", "dense")))
    return Tuned(
        make,
        number("step_size", step_size, 1e-12, action="a length in standard deviations"),
        number("acceptance", acceptance, 1e-3, 0.999, "the mean acceptance to aim at"),
        number("jump", jump, 0.0, 2.0, "a mean squared jump per dimension, in variances"),
        whole("max_moves", max_moves, 1, "the most moves at one temperature"),
        mass,
    )


def flat(positions: PyTree) -> Array:
    """Positions of a population as rows, (N, d), in at least float32."""
    return widened(jax.vmap(lambda position: raveled(position)[0])(positions))


def inverse_mass(positions: PyTree, log_weights: Array, mass: str) -> Array:
    """The weighted variance (d,) or covariance (d, d) of a population; never singular.

    The covariance is shrunk towards its diagonal by d/(d + ESS).
    """
    rows = flat(positions)
    shares = normalized(log_weights).astype(rows.dtype)
    centred = rows - (shares @ rows)[None, :]
    variance = jnp.maximum(shares @ centred**2, jnp.finfo(rows.dtype).tiny * 1e6)
    if mass == "diagonal":
        return variance
    size = rows.shape[1]
    kept = ess(log_weights).astype(rows.dtype)
    kept = kept / (kept + size)
    covariance = (centred * shares[:, None]).T @ centred
    return kept * covariance + (1 - kept) * jnp.diag(variance)


def squared_jump(before: Array, positions: PyTree, setting: Setting) -> Array:
    """Mean squared distance from `before`, (N, d), per dimension and in variances."""
    scale = setting.inverse_mass if setting.inverse_mass.ndim == 1 else jnp.diagonal(setting.inverse_mass)
    return jnp.mean((flat(positions) - before) ** 2 / scale[None, :])


def adapted(setting: Setting, acceptance: Array, target: Array) -> Setting:
    """The next step size: larger where more was accepted than aimed at."""
    factor = jnp.exp(GAIN * (acceptance - target.astype(acceptance.dtype)))
    return setting._replace(step_size=setting.step_size * factor.astype(setting.step_size.dtype))
