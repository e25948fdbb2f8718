"""The velocity and the weight rate of any target, from one formula, at one particle.

    u = Σ β_i v_i + h x + k
    g = Σ β_i (u − v_i)·s_i + h d + ∂_t r + u·∇r

with log p̃ = Σ β_i log q_i + r, S = Σ β_i s_i and ∇log p̃ = S + ∇r. No divergence of a network appears. The d-term
h d is the same for every particle; it is integrated in closed form elsewhere and left out of `Field.rate`.

A control field φ adds φ to u and A = ∇·φ + φ·∇log p̃ to g, without changing the law.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key
from fkdiff.correctors import tilts as tilting
from fkdiff.correctors.reference import Gauge

LADDER = ("none", "affine", "score", "score+reward")


class Local(NamedTuple):
    """What the models and rewards say at one (x, t), before any rule is applied.

    Attributes:
        velocities: v_i, (F, *shape).
        scores: s_i, (F, *shape).
        divergences: ∇·s_i, (F,): exact, or one unbiased probe; zeros where not asked for.
        images: J_i z of that probe, (F, *shape); None where no divergence is a probe's.
        still: −∇·v_i − v_i·s_i, (F,), with these divergences.
        tilt: r, ∇r, ∂_t r, ∇²r.
    """

    velocities: Array
    scores: Array
    divergences: Array
    images: Array | None
    still: Array
    tilt: tilting.TiltDerivatives


class Field(NamedTuple):
    """The weighted flow at one particle.

    Attributes:
        velocity: u, the shape of one example.
        score: ∇log p̃ = S + ∇r.
        rate: g without its d-term, a scalar.
        tilt_gradient: ∇r, part of `score`.
        tilt_rate: ∂_t r + u·∇r, part of `rate`.
        basis: φ_j, (J, *shape).
        columns: A_j = ∇·φ_j + φ_j·∇log p̃, (J,).
        noise: An unbiased estimate of the covariance of the columns' probe, (J, J); None where they are exact.
        scores: s_i, (F, *shape).
        still: −∇·v_i − v_i·s_i, (F,): along dx/dt = u, log q_i grows at this rate plus u·s_i.
    """

    velocity: Array
    score: Array
    rate: Array
    tilt_gradient: Array
    tilt_rate: Array
    basis: Array
    columns: Array
    noise: Array | None
    scores: Array
    still: Array


def probes(key: Key | None, shape: tuple[int, ...], dtype, exact: bool) -> Array:
    """Directions (P, *shape) with Σ p pᵀ unbiased for the identity: the basis, or one uniform on |z|² = d.

    On the sphere the noise of z·Jz can be estimated from the one product Jz; see `probe_noise`.
    """
    if exact or key is None:
        return jnp.eye(math.prod(shape), dtype=dtype).reshape(-1, *shape)
    z = jax.random.normal(key, (1, *shape), dtype)
    return z * jnp.sqrt(math.prod(shape) / jnp.sum(z**2))


def probe_noise(images: Array, values: Array) -> Array:
    """Cov[z·J_j z, z·J_k z] without bias, (J, J), for symmetric J and z uniform on |z|² = d.

    E[(z·Jz)(z·Kz)] = d/(d + 2) (tr J tr K + 2 tr JK) and E[Jz·Kz] = tr JK, so that the covariance,
    2/(d + 2) (d tr JK − tr J tr K), is the mean of 2 (Jz·Kz − (z·Jz)(z·Kz)/d). For J that are not symmetric, as of a
    network that is not a gradient, it errs upwards.

    Args:
        images: J_j z, (J, *shape).
        values: z·J_j z, (J,).
    """
    flat = images.reshape(images.shape[0], -1)
    size = flat.shape[1]
    return 2 * (flat @ flat.T - jnp.outer(values, values) / size)


def local(target, x: Array, t: Array, key: Key | None, control: str, exact: bool) -> Local:
    """Calls every model once at (x, t), with the derivatives that `control` needs.

    Args:
        target: A `WeightedSDE`.
        x: One position.
        t: A scalar time.
        key: Draws the probe; it must be fresh at every particle and step, since a probe kept along a
            trajectory biases log Z. Unused when nothing needs a probe.
        control: A rung of `LADDER`.
        exact: Divergences over a full basis instead of one probe.
    """
    score_control, reward_control = control.startswith("score"), control == "score+reward"
    directions = probes(key, x.shape, x.dtype, exact) if score_control else None
    probed = score_control and not (exact or key is None)
    velocities, scores, divergences, images = [], [], [], []
    for _, pred in target.factors:

        def field(z, pred=pred):
            prediction = pred(z, t)
            return prediction.score, prediction.velocity

        if directions is None:
            score, velocity = field(x)
            divergence = jnp.zeros((), x.dtype)
        else:
            score, curved, velocity = jax.vmap(
                lambda p, field=field: jax.jvp(field, (x,), (p,), has_aux=True), out_axes=(None, 0, None)
            )(directions)
            divergence = jnp.sum(curved * directions)
            images.append(curved[0])
        velocities.append(velocity)
        scores.append(score)
        divergences.append(divergence)
    curvature = directions if reward_control and target.tilts else None
    tilt = tilting.derivatives(target, x, t, curvature) if target.tilts else _no_tilt(x)
    velocities, scores, divergences = jnp.stack(velocities), jnp.stack(scores), jnp.stack(divergences)
    still = -jax.vmap(dot)(velocities, scores) - own_divergences(target, divergences, x, t)
    return Local(velocities, scores, divergences, jnp.stack(images) if probed else None, still, tilt)


def own_divergences(target, divergences: Array, x: Array, t: Array) -> Array:
    """∇·v_i = c_i d + κ_i ∇·s_i, (F,)."""
    turns = jnp.stack([path.contraction(t) for path in target.paths])
    return turns * x.size + jnp.stack([path.kappa(t) for path in target.paths]) * divergences


def _no_tilt(x: Array) -> tilting.TiltDerivatives:
    zero, still = jnp.zeros((), x.dtype), jnp.zeros_like(x)
    return tilting.TiltDerivatives(zero, still, zero, zero, still)


def dot(a: Array, b: Array) -> Array:
    """Inner product over the axes of one example."""
    return jnp.sum(a * b)


def weighted_sum(betas: Array, fields: Array) -> Array:
    """Σ β_i field_i for fields (F, *shape)."""
    return jnp.tensordot(betas, fields, axes=1)


def assemble(target, here: Local, gauge: Gauge, x: Array, centre: Array, control: str) -> Field:
    """u, ∇log p̃, g and the control columns from what the models said.

    Args:
        target: A `WeightedSDE`.
        here: `local` at the same particle and time.
        gauge: The affine field at this time.
        x: The particle.
        centre: The population's weighted mean, a direction of the affine control.
        control: A rung of `LADDER`.
    """
    betas = target.betas
    score = weighted_sum(betas, here.scores) + here.tilt.gradient
    velocity = weighted_sum(betas, here.velocities) + gauge.h * x + gauge.k
    gaps = jax.vmap(lambda v, s: dot(velocity - v, s))(here.velocities, here.scores)
    tilt_rate = here.tilt.rate + dot(velocity, here.tilt.gradient)
    rate = jnp.sum(betas * gaps) + tilt_rate
    basis, divergences = control_basis(target, here, x, centre, control)
    columns = divergences + jax.vmap(lambda phi: dot(phi, score))(basis)
    noise = columns_noise(here, divergences)
    return Field(velocity, score, rate, here.tilt.gradient, tilt_rate, basis, columns, noise, here.scores, here.still)


def columns_noise(here: Local, divergences: Array) -> Array | None:
    """The covariance of the columns' probe, (J, J): zeros for the affine ones, whose divergences are known."""
    if here.images is None:
        return None
    images, count = here.images, divergences.shape[0]
    if count > 2 + images.shape[0]:
        images = jnp.concatenate([images, here.tilt.image[None]])
    return jnp.zeros((count, count), divergences.dtype).at[2:, 2:].set(probe_noise(images, divergences[2:]))


def control_basis(target, here: Local, x: Array, centre: Array, control: str) -> tuple[Array, Array]:
    """φ_j (J, *shape) and ∇·φ_j (J,), cheapest first: {x − x̄, x̄}, then each s_i, then ∇r."""
    if control == "none":
        return jnp.zeros((0, *x.shape), x.dtype), jnp.zeros((0,), x.dtype)
    size = jnp.asarray(x.size, x.dtype)
    basis, divergences = [jnp.stack([x - centre, centre])], [jnp.stack([size, jnp.zeros_like(size)])]
    if control.startswith("score"):
        basis.append(here.scores)
        divergences.append(here.divergences)
    if control == "score+reward" and target.tilts:
        basis.append(here.tilt.gradient[None])
        divergences.append(here.tilt.laplacian[None])
    return jnp.concatenate(basis), jnp.concatenate(divergences)
