"""The Gaussian phase in closed form.

While the noise dominates, model i looks like q_i = N(α_i m, w_i I) with w_i = α_i² ς² + σ_i², and the target
like N(M, V I):

    1/V = Σ β_i/w_i,    M = V Σ β_i α_i m/w_i.

The gauge h x + k is what must be added to Σ β_i v_i so that the flow carries N(M, V) exactly; then g is constant
over particles in this phase, and all of its d-terms integrate in closed form.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array
from fkdiff.paths import Path

LOG_2PI = 1.8378770664093453


class Reference(eqx.Module):
    """The reference law of the data, N(mean, variance I).

    Attributes:
        mean: m, the shape of one example or a scalar.
        variance: ς², a scalar, in the squared unit of the data.
    """

    mean: Array
    variance: Array


class Phase(NamedTuple):
    """N(M, V I) with the logarithm of its mass per dimension.

    Attributes:
        mean: M, the shape of one example or a scalar.
        log_variance: log V, a scalar.
        log_mass: Σ −½ β_i log 2πw_i + ½ log 2πV, per dimension; `deviation` holds the rest.
        deviation: Σ β_i |α_i m|²/w_i − |M|²/V per coordinate of the mean: 0 for one shared path.
    """

    mean: Array
    log_variance: Array
    log_mass: Array
    deviation: Array


def phase(reference: Reference, betas: tuple[Array, ...], paths: tuple[Path, ...], t: Array) -> Phase:
    """The Gaussian phase of the target at time t."""
    alphas = [path.alpha(t) for path in paths]
    w = [a**2 * reference.variance + path.sigma(t) ** 2 for a, path in zip(alphas, paths, strict=True)]
    precision = sum(b / wi for b, wi in zip(betas, w, strict=True))
    pull = sum(b * a / wi for b, a, wi in zip(betas, alphas, w, strict=True))
    log_variance = -jnp.log(precision)
    log_mass = 0.5 * (LOG_2PI + log_variance)
    log_mass -= 0.5 * sum(b * (LOG_2PI + jnp.log(wi)) for b, wi in zip(betas, w, strict=True))
    spread = sum(b * a**2 / wi for b, a, wi in zip(betas, alphas, w, strict=True)) - pull**2 / precision
    return Phase(pull / precision * reference.mean, log_variance, log_mass, spread * reference.mean**2)


def precision(reference_variances: tuple[Array, ...], betas, paths, t: Array) -> Array:
    """Σ β_i/(α_i² ς_i² + σ_i²), which must be positive at every time for the target to exist."""
    terms = zip(reference_variances, betas, paths, strict=True)
    return jnp.sum(jnp.stack([b / (p.alpha(t) ** 2 * variance + p.sigma(t) ** 2) for variance, b, p in terms]))


class Gauge(NamedTuple):
    """The affine field h x + k that joins Σ β_i v_i."""

    h: Array
    k: Array


def closed_form(reference: Reference, betas, paths, t: Array) -> Gauge:
    """The gauge that carries N(M, V) along: u* − Σ β_i v_i on the reference.

    u* = Ṁ + ½ (V̇/V)(x − M) and v_i = α̇_i m + ½ (ẇ_i/w_i)(x − α_i m).
    """
    one = jnp.ones_like(t)

    def target(s):
        now = phase(reference, betas, paths, s)
        return now.mean, now.log_variance

    (mean, _), (mean_dot, rate) = jax.jvp(target, (t,), (one,))
    h, k = 0.5 * rate, mean_dot - 0.5 * rate * mean
    for beta, path in zip(betas, paths, strict=True):

        def model(s, path=path):
            alpha = path.alpha(s)
            return alpha, jnp.log(alpha**2 * reference.variance + path.sigma(s) ** 2)

        (alpha, _), (alpha_dot, log_w_dot) = jax.jvp(model, (t,), (one,))
        h = h - 0.5 * beta * log_w_dot
        k = k - beta * (alpha_dot - 0.5 * log_w_dot * alpha) * reference.mean
    return Gauge(h, k)


def published(reference: Reference, betas, paths, t: Array) -> Gauge:
    """No gauge beyond the linear drift: u = c x + κ S, as the correctors were first published (one path)."""
    return Gauge((1 - sum(betas)) * paths[0].contraction(t), jnp.zeros_like(reference.mean))


GAUGES = {"closed-form": closed_form, "published": published}


def log_growth(gauge: str, reference: Reference, betas, paths, t0: Array, t1: Array, dimension: int) -> Array:
    """∫ h d dt over [t0, t1], in closed form: the part of log Z that no particle sees."""
    if gauge == "published":
        return dimension * (1 - sum(betas)) * (paths[0].log_alpha(t1) - paths[0].log_alpha(t0))
    start, end = phase(reference, betas, paths, t0), phase(reference, betas, paths, t1)
    return dimension * (end.log_mass - start.log_mass)


def log_start(reference: Reference, betas, paths, t: Array, dimension: int) -> Array:
    """log of ∫ Π q_i^{β_i} at the start, for the reference Gaussians."""
    now = phase(reference, betas, paths, t)
    per_coordinate = jnp.broadcast_to(now.deviation, jnp.shape(now.deviation) or (dimension,))
    return dimension * now.log_mass - 0.5 * jnp.sum(per_coordinate)
