"""The next temperature of an adaptive schedule, by bisection on the conditional effective sample size.

    CESS(δ) = N (Σ W_i v_i)² / Σ W_i v_i²,    v_i = exp(δ ℓ(x_i)),    W the weights before

The next temperature is the largest at which CESS ≥ share · N. It is N for δ = 0 and does not depend on how uneven the
weights already are, so that the steps are the same whether or not the population is resampled in between.

References: Jasra et al. (2011); Zhou, Johansen and Aston (2016), eq. 3.17.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fkdiff.core import Array, bisect_magnitude
from fkdiff.smc.weights import normalized

HALVINGS = 30  # of the logarithm of a step
SMALLEST = 1e-30  # of a temperature: what a population that allows no step at all is moved by


def conditional_ess(log_weights: Array, increments: Array) -> Array:
    """CESS/N of adding `increments` to `log_weights`, in (0, 1]; particles that die by it are not counted.

    A hard constraint (an increment of −inf) kills the same particles whatever the step, so it must not hold the
    temperature back.
    """
    alive = increments > -jnp.inf
    weights = normalized(jnp.where(alive, log_weights, -jnp.inf))
    top = jnp.max(jnp.where(alive, increments, -jnp.inf))
    ratios = jnp.where(alive, jnp.exp(jnp.where(alive, increments, 0.0) - jnp.where(jnp.isfinite(top), top, 0.0)), 0.0)
    squares = jnp.sum(weights * ratios**2)
    return jnp.sum(weights * ratios) ** 2 / jnp.where(squares > 0, squares, 1.0)


def next_temperature(log_weights: Array, log_likelihoods: Array, now: Array, share: Array) -> Array:
    """The largest temperature in (now, 1] at which CESS ≥ share · N.

    Args:
        log_weights: At `now`, (N,).
        log_likelihoods: ℓ(x_i), (N,).
        now: The temperature, a scalar in [0, 1].
        share: In (0, 1).

    The logarithm of the step is halved: under a vague prior the first steps are many orders of magnitude below 1.

    Gradients: stopped; the temperatures are taken for constants, since log Z does not depend on them.
    """
    given = log_weights, log_likelihoods, share
    log_weights, log_likelihoods, share = (jax.lax.stop_gradient(leaf).astype(now.dtype) for leaf in given)
    now = jax.lax.stop_gradient(now)

    def enough(step: Array) -> Array:
        return conditional_ess(log_weights, step * log_likelihoods) >= share

    rest = 1 - now
    # The least step that `now` does not swallow, so that every step makes way.
    least = jnp.maximum(SMALLEST, jnp.finfo(now.dtype).eps * now)
    low, _ = bisect_magnitude(enough, least, rest, HALVINGS)
    step = jnp.where(enough(rest), rest, jnp.maximum(low, least))
    return jnp.where(step >= rest, jnp.ones_like(now), now + step)
