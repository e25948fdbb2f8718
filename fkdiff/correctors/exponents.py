"""Which exponents define a target: a positive sum, and a positive precision Σ β_i/(α² ς_i² + σ²) along the path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, FkdiffError, Key, require, traced
from fkdiff.correctors import reference as gaussian
from fkdiff.prediction import Predictor

if TYPE_CHECKING:
    from fkdiff.correctors.weighted_sde import WeightedSDE


def shared(paths: tuple) -> bool:
    """Whether all paths are one, as far as can be known now."""
    first, *rest = paths
    for other in rest:
        if other is first:
            continue
        if traced((first, other)) or not bool(eqx.tree_equal(first, other)):
            return False
    return True


def data_moments(key: Key, pred: Predictor, num_samples: int) -> tuple[Array, Array]:
    """Mean and per-coordinate variance of the data, from clean(x, t_min) and its Jacobian's trace.

    Tweedie: Cov[clean | x] = (σ²/α) ∂clean/∂x, which is the prior covariance when x says nothing.
    """
    t = pred.path.t_min
    alpha, sigma = pred.path.alpha(t), pred.path.sigma(t)
    key_x, key_probe = jax.random.split(key)
    x = jnp.sqrt(alpha**2 + sigma**2) * jax.random.normal(key_x, (num_samples, *pred.shape), t.dtype)
    probes = jax.random.rademacher(key_probe, x.shape, x.dtype)

    def one(point, probe):
        clean, curved = jax.jvp(lambda z: pred(z, t).clean, (point,), (probe,))
        return clean, jnp.sum(curved * probe)

    clean, traces = jax.vmap(one)(x, probes)
    variance = sigma**2 / alpha * jnp.mean(traces) / x[0].size
    return jnp.mean(clean, axis=0), jnp.maximum(variance, 1e-3)


def check_exponents(target: WeightedSDE) -> None:
    """Refuses exponents that define no density, when they are known now.

    Raises:
        FkdiffError: B = Σ β_i ≤ 0, or the precision Σ β_i/(α² ς_i² + σ²) is not positive on the whole path.
    """
    if traced(target.betas):
        return
    betas = [float(beta) for beta, _ in target.factors]
    total = sum(betas)
    listed = ", ".join(f"{beta:g}" for beta in betas)
    require(
        np.isfinite(total) and total > 0,
        f"exponents ({listed}) sum to B = {total:g}, and no density has that power: B must be positive; raise the "
        "positive exponents or lower the negative ones.",
    )
    if min(betas) >= 0 or traced(target):
        return
    if not float(lowest_precision(target)) > 0:
        variances = [_fitted_variance(pred) for _, pred in target.factors]
        spreads = ", ".join(f"{float(variance):.3g}" for variance in variances)
        raise FkdiffError(
            f"exponents ({listed}) on models of data variance ({spreads}) leave no normalisable target: a negative "
            "power of a narrow model grows faster than the others fall; lower the negative exponents."
        )


@eqx.filter_jit
def lowest_precision(target: WeightedSDE) -> Array:
    """The least of Σ β_i/(α_i² ς_i² + σ_i²) along the path, with ς_i² read off each model: above 0 where p̃ exists.

    Cost: 32 evaluations and jvps of every model.
    """
    variances = tuple(_fitted_variance(pred) for _, pred in target.factors)
    times = jnp.linspace(*target.time_range, 33)
    betas = tuple(target.betas)
    return jnp.min(jax.vmap(lambda t: gaussian.precision(variances, betas, target.paths, t))(times))


@eqx.filter_jit
def _fitted_variance(pred: Predictor) -> Array:
    return data_moments(jax.random.key(0), pred, 32)[1]
