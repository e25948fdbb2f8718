"""What x_t says about x_K, the last position of a chain that follows the path backwards.

Seen from x_K, the path is another Gaussian path: x_t = ã x_K + σ̃ noise with

    ã = α/α_K,    σ̃² = σ² (1 − e^{−λ}),    λ = log-SNR(t_K) − log-SNR(t),

so everything that holds for clean data holds for x_K, and at t_K it holds exactly: the estimate of x_K is x_K. For
data of covariance Σ, x_K has V = α_K² Σ + σ_K² I, and with each eigenvalue w of V

    E[x_K | x_t] is affine in x_t with gain  ã w/(ã² w + σ̃²),    Cov[x_K | x_t] = w σ̃²/(ã² w + σ̃²).

References: Tweedie's formula (Efron, 2011) on the path from x_K.
"""

from __future__ import annotations

import jax.numpy as jnp

from fkdiff.core import Array
from fkdiff.paths import Path
from fkdiff.prediction import Prediction


def relative(path: Path, t: Array) -> tuple[Array, Array]:
    """ã and σ̃² at a time; (1, 0) at t_max."""
    gap = path.log_snr(path.t_max) - path.log_snr(t)
    return jnp.exp(path.log_alpha(t) - path.log_alpha(path.t_max)), path.sigma(t) ** 2 * -jnp.expm1(-gap)


def estimate(path: Path, prediction: Prediction, t: Array) -> Array:
    """E[x_K | x_t] = α_K clean + σ_K e^{−λ/2} noise, the shape of one example; x_K itself at t_max."""
    gap = path.log_snr(path.t_max) - path.log_snr(t)
    return path.alpha(path.t_max) * prediction.clean + path.sigma(path.t_max) * jnp.exp(-0.5 * gap) * prediction.noise


def reached(path: Path, variance: Array) -> Array:
    """w = α_K² variance + σ_K², of x_K where `variance` is that of clean data."""
    return path.alpha(path.t_max) ** 2 * variance + path.sigma(path.t_max) ** 2


def posterior(path: Path, variance: Array, t: Array) -> tuple[Array, Array]:
    """The gain and the variance of x_K given x_t for clean data of a variance, of any shape."""
    scale, noise = relative(path, t)
    w = reached(path, variance)
    total = scale**2 * w + noise
    return scale * w / total, w * noise / total
