"""Time steps of the weighted flow (X, ℓ), and how many stages each one costs.

Control makes the weights nearly flat, so that ε = 0 works and (X, ℓ) is an ordinary differential equation for the
whole population: Heun and Runge–Kutta apply to both at once. θ is solved again at every stage, with the weights of
that stage.

A step is `step(corrector, key, x, log_weights, t0, t1) -> Moved`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, particle_keys
from fkdiff.core.keys import Use, stream
from fkdiff.correctors import control
from fkdiff.correctors.rate import Field, dot


class Densities(NamedTuple):
    """log q_i, (N, F), carried along by the probes' divergences, and the variance that these give to it, (N, F)."""

    value: Array
    noise: Array


class Moved(NamedTuple):
    """What a step changes.

    Attributes:
        x: Particles after it, (N, *shape).
        increments: Of their log-weights, as the probes had it, (N,).
        residual: sd_w(g + Aθ) Δt.
        noise: The variance that probes gave to the increments, (N,).
        densities: Increments of log q_i along the particles, (N, F), and of their variance by probes; right for a
            deterministic flow with score control.
    """

    x: Array
    increments: Array
    residual: Array
    noise: Array
    densities: Densities


class Stage(NamedTuple):
    """The controlled flow at one stage.

    Attributes:
        velocity: u + Σ θ_j φ_j, (N, *shape).
        score: ∇log p̃, (N, *shape).
        rates: g + Aθ, (N,).
        spread: sd_w(g + Aθ).
        noise: Of the rates, by probes, (N,).
        densities: Rates of log q_i along the velocity, (N, F), and their noise.
    """

    velocity: Array
    score: Array
    rates: Array
    spread: Array
    noise: Array
    densities: Densities


def controlled(corrector, field: Field, log_weights: Array, t: Array) -> Stage:
    """Solves for θ over the population, or reads it off a schedule, and applies it."""
    if corrector.schedule is None:
        fit = control.solve(field.rate, field.columns, log_weights, field.noise)
    else:
        fit = control.apply(corrector.schedule.at(t)[0], field.rate, field.columns, log_weights, field.noise)
    velocity = field.velocity + jnp.einsum("nj...,j->n...", field.basis, fit.theta)
    carried = field.still + jax.vmap(lambda u, scores: jax.vmap(lambda s: dot(u, s))(scores))(velocity, field.scores)
    kappas = jnp.stack([path.kappa(t) for path in corrector.target.paths])
    noise = jnp.zeros_like(carried)
    if field.noise is not None:
        of_scores = jnp.diagonal(field.noise, axis1=1, axis2=2)[:, 2 : 2 + kappas.shape[0]]
        noise = kappas[None, :] ** 2 * of_scores
    return Stage(velocity, field.score, fit.rates, fit.spread, fit.noise, Densities(carried, noise))


def _gathered(x: Array, weighted: list[tuple[Array, Stage]]) -> Moved:
    """A step whose stages count with the given lengths of time; the probes of its stages are independent."""
    totals = [
        (h * s.rates, h * s.spread, h**2 * s.noise, Densities(h * s.densities.value, h**2 * s.densities.noise))
        for h, s in weighted
    ]
    return Moved(x, *jax.tree.map(lambda *parts: sum(parts), *totals))


def _kicks(corrector, key: Key, x: Array, integral: Array) -> Array:
    """√(2ν ∫κ) ξ, one key per particle; exact zeros when the flow is deterministic."""
    if corrector.deterministic:
        return jnp.zeros_like(x)
    keys = particle_keys(stream(key, Use.NOISE), x.shape[0])
    xi = jax.vmap(lambda k: jax.random.normal(k, x.shape[1:], x.dtype))(keys)
    return jnp.sqrt(2 * corrector.noise * integral) * xi


def _drift(corrector, stage: Stage, kappa: Array) -> Array:
    if corrector.deterministic:
        return stage.velocity
    return stage.velocity + corrector.noise * kappa * stage.score


def euler(corrector, key: Key, x: Array, log_weights: Array, t0: Array, t1: Array) -> Moved:
    """Euler–Maruyama with left-point weights. Weak order 1; one stage."""
    h, kappa = t1 - t0, corrector.target.kappa(t0)
    stage = controlled(corrector, corrector.fields(stream(key, Use.PROBE), x, log_weights, t0), log_weights, t0)
    moved = x + h * _drift(corrector, stage, kappa) + _kicks(corrector, key, x, kappa * h)
    return _gathered(moved, [(h, stage)])


def heun(corrector, key: Key, x: Array, log_weights: Array, t0: Array, t1: Array) -> Moved:
    """Heun's trapezoid, with the same kick in both stages. Order 2 at ν = 0 and exact divergences; two stages."""
    h, target = t1 - t0, corrector.target
    kappa0, kappa1 = target.kappa(t0), target.kappa(t1)
    key0, key1 = jax.random.split(stream(key, Use.PROBE))
    kick = _kicks(corrector, key, x, 0.5 * h * (kappa0 + kappa1))
    first = controlled(corrector, corrector.fields(key0, x, log_weights, t0), log_weights, t0)
    drift = _drift(corrector, first, kappa0)
    ahead, ahead_weights = x + h * drift + kick, log_weights + h * first.rates
    second = controlled(corrector, corrector.fields(key1, ahead, ahead_weights, t1), ahead_weights, t1)
    moved = x + 0.5 * h * (drift + _drift(corrector, second, kappa1)) + kick
    return _gathered(moved, [(0.5 * h, first), (0.5 * h, second)])


def rk4(corrector, key: Key, x: Array, log_weights: Array, t0: Array, t1: Array) -> Moved:
    """The classical Runge–Kutta step, ν = 0. Order 4 with exact divergences; four stages."""
    h = t1 - t0
    keys = jax.random.split(stream(key, Use.PROBE), 4)
    shift, slope, rates, weighted = jnp.zeros_like(x), jnp.zeros_like(x), jnp.zeros_like(log_weights), []
    for i, (node, weight) in enumerate(((0.0, 1 / 6), (0.5, 1 / 3), (0.5, 1 / 3), (1.0, 1 / 6))):
        at, at_weights = x + node * h * slope, log_weights + node * h * rates
        now = t0 + node * h
        stage = controlled(corrector, corrector.fields(keys[i], at, at_weights, now), at_weights, now)
        slope, rates = stage.velocity, stage.rates
        shift, weighted = shift + weight * h * slope, [*weighted, (weight * h, stage)]
    return _gathered(x + shift, weighted)


def exponential(corrector, key: Key, x: Array, log_weights: Array, t0: Array, t1: Array) -> Moved:
    """Exact in its linear part, for ν > 0 on one shared path. Weak order 1; one stage.

    With y = (x − αm)/√v, Λ = log(α/√v), f = √v S + B y and φ(a) = (1 − e^{−aλ})/a:

        y' = e^{−νBλ} y + φ(νB)[(1 + ν) f + ν √v ∇r] + √(2ν φ(2νB)) ξ
        Δℓ = λ Σ β_i (f − f_i)·(f_i − y) + h (∂_t r + u·∇r),    f_i = √v s_i + y

    and the control enters as a constant drift over the step.
    """
    target, nu = corrector.target, corrector.noise
    total, h = jnp.sum(target.betas), t1 - t0
    (scale0, _), slope = jax.jvp(corrector.standardisation, (t0,), (jnp.ones_like(t0),))
    scale1, shift1 = corrector.standardisation(t1)
    clock = target.path.log_alpha(t1) - jnp.log(scale1) - target.path.log_alpha(t0) + jnp.log(scale0)
    clock_rate = target.path.contraction(t0) - slope[0] / scale0
    y = (x - corrector.standardisation(t0)[1]) / scale0

    field = corrector.fields(stream(key, Use.PROBE), x, log_weights, t0)
    # In the clock Λ the model part of g is known exactly per unit λ, the rest per unit time.
    exact = clock / (clock_rate * h) * (field.rate - field.tilt_rate) + field.tilt_rate
    stage = controlled(corrector, field._replace(rate=exact), log_weights, t0)
    push = (stage.velocity - field.velocity) / scale0

    mean_gain, noise_gain = phi(nu * total, clock), phi(2 * nu * total, clock)
    force = scale0 * field.score + total * y
    model_force = force - scale0 * field.tilt_gradient
    y1 = jnp.exp(-nu * total * clock) * y + mean_gain * (model_force + nu * force + h / clock * push)
    keys = particle_keys(stream(key, Use.NOISE), x.shape[0])
    xi = jax.vmap(lambda k: jax.random.normal(k, x.shape[1:], x.dtype))(keys)
    y1 = y1 + jnp.sqrt(2 * nu * noise_gain) * xi
    return _gathered(shift1 + scale1 * y1, [(h, stage)])


def phi(a: Array, clock: Array) -> Array:
    """(1 − e^{−aλ})/a, and λ at a = 0; finite in the gradient too."""
    safe = jnp.where(a == 0, 1.0, a)
    return jnp.where(a == 0, clock, -jnp.expm1(-safe * clock) / safe)


STEPS = {"euler": euler, "heun": heun, "rk4": rk4, "exponential": exponential}
STAGES = {"euler": 1, "heun": 2, "rk4": 4, "exponential": 1}
