"""Rewards as factors, with every derivative by autodiff.

    on="x":      r_t(x) = strength · ramp(progress) · v(t_end)/v(t) · reward(x),    v = α²ς² + σ²
    on="clean":  r_t(x) = strength · ramp(progress) · reward(clean(x, t))

Both end at strength · reward(x). The ratio of variances is near 1 on variance-preserving paths; on exploding ones it
keeps a reward made for data from acting on noise a hundred times as wide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, FkdiffError, Scalar, concrete, number, require, traced
from fkdiff.prediction import Predictor, scalar_reward

SPACES = ("x", "clean")


class Tilt(eqx.Module):
    """A reward in nats that multiplies the target by exp(strength · ramp · reward).

    Attributes:
        reward: `reward(x) -> scalar`, differentiable, for ONE example; a function or a pytree.
        strength: Multiplies the reward; a leaf, so that a new one compiles nothing.
        ramp: `ramp(progress)`, from progress 0 at t_min to 1 at t_max; ramp(1) must be 1.
        on: "x" evaluates the reward at the noisy position, "clean" at the model's clean estimate.
    """

    reward: Callable[[Array], Array]
    strength: Array
    ramp: Callable[[Array], Array]
    on: str = eqx.field(static=True, default="x")


class TiltDerivatives(NamedTuple):
    """r_t, ∇r, ∂_t r and, where asked for, the sum of pᵀ∇²r p over probes p, and ∇²r p of the first."""

    value: Array
    gradient: Array
    rate: Array
    laplacian: Array
    image: Array


def value(target, x: Array, t: Array) -> Array:
    """r_t(x), the sum of all tilts of a `WeightedSDE`."""
    total = jnp.zeros((), x.dtype)
    if not target.tilts:
        return total
    progress = target.progress(t)
    # A reward of clean data, read at noise many times as wide, would dwarf everything: it counts per unit of variance.
    narrow = target.variance(target.time_range[1]) / target.variance(t)
    for tilt in target.tilts:
        share = tilt.strength * tilt.ramp(progress)
        if tilt.on == "clean":
            total = total + share * scalar_reward(tilt.reward, clean_estimate(target.factors, x, t))
        else:
            total = total + share * narrow * scalar_reward(tilt.reward, x)
    return total


def clean_estimate(factors: tuple[tuple[Array, Predictor], ...], x: Array, t: Array) -> Array:
    """The clean estimate of the composed target: the exponent-weighted mean over its factors."""
    betas = jnp.stack([beta for beta, _ in factors])
    return jnp.tensordot(betas, jnp.stack([pred(x, t).clean for _, pred in factors]), axes=1) / jnp.sum(betas)


def derivatives(target, x: Array, t: Array, probes: Array | None) -> TiltDerivatives:
    """r, ∇r, ∂_t r by one reverse pass, and pᵀ∇²r p summed over `probes` (P, *shape) when given."""

    def gradient(z):
        total, (dx, dt) = jax.value_and_grad(lambda y, s: value(target, y, s), argnums=(0, 1))(z, t)
        return dx, (total, dt)

    if probes is None:
        dx, (total, dt) = gradient(x)
        return TiltDerivatives(total, dx, dt, jnp.zeros((), x.dtype), jnp.zeros_like(x))
    dx, curved, (total, dt) = jax.vmap(lambda p: jax.jvp(gradient, (x,), (p,), has_aux=True), out_axes=(None, 0, None))(
        probes
    )
    return TiltDerivatives(total, dx, dt, jnp.sum(curved * probes), curved[0])


def checked_tilt(reward: Callable, shape: tuple[int, ...], strength: Scalar, ramp: Callable, on: str) -> Tilt:
    """Builds a `Tilt` after trying the reward on a few points.

    Raises:
        FkdiffError: Not callable, not one number, not differentiable, NaN or +inf.
    """
    require(callable(reward), f"reward={reward!r} is not a function; pass reward(x) -> one number in nats.")
    require(on in SPACES, f'on="{on}" is not one of x, clean.')
    dtype = jnp.result_type(float)
    require(callable(ramp), f"ramp={ramp!r} is not a function; pass ramp(progress), from 0 at t_min to 1 at t_max.")
    tilt = Tilt(reward, number("strength", strength, action="it multiplies the reward"), ramp, on)
    if traced((reward, tilt.strength)):
        return tilt
    _try_reward(reward, shape, dtype)
    end = concrete(ramp(jnp.ones((), dtype)))
    require(
        end is not None and abs(float(end) - 1) < 1e-6,
        f"ramp(1) is {end}; a ramp runs over progress from 0 to 1 and must end at 1, or the law reached is not the "
        "one asked for: divide it by its last value.",
    )
    return tilt


_NOT_DIFFERENTIABLE = (
    "reward is not differentiable by JAX ({}), and tilt needs its gradient; for a black-box reward use fkdiff.steer."
)


def _try_reward(reward: Callable, shape: tuple[int, ...], dtype: Any) -> None:
    points = jax.random.normal(jax.random.key(0), (8, *shape), dtype)
    try:
        values, gradients = jax.jit(jax.vmap(jax.value_and_grad(lambda x: scalar_reward(reward, x))))(points)
    except FkdiffError as error:
        if not isinstance(error.__cause__, TypeError):
            raise
        raise FkdiffError(_NOT_DIFFERENTIABLE.format("it computes outside JAX")) from error
    except (jax.errors.JAXTypeError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0][:100] if str(error).strip() else type(error).__name__
        raise FkdiffError(_NOT_DIFFERENTIABLE.format(reason)) from error
    values, gradients = np.asarray(values), np.asarray(gradients)
    require(
        bool(np.all(np.isfinite(values))),
        f"reward is {values[~np.isfinite(values)][:1]} at a standard normal point; it must be finite, as must its "
        "gradient: guard its logs and divisions, or use fkdiff.steer, where −inf forbids a region.",
    )
    flat = np.ptp(values) > 0 and not np.any(gradients)
    require(not flat, _NOT_DIFFERENTIABLE.format("it varies, and its gradient is zero everywhere"))
