"""Proposals with exact ratios: a step of the solver, shifted towards what pays.

The solver's step is M = N(mean, s² I). A shift by s² times a slope gives M̃ = N(mean + s² slope, s² I), and the path is
weighted by M/M̃, which for x = mean + s² slope + s ξ is

    log M(x) − log M̃(x) = −½ s² |slope|² − s slope·ξ.

Any slope is exact. ∇ log of the optimal twist is the best one; where s = 0 the proposal is the solver's own.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, Transition

# "base": the solver's own step. "twisted": shifted along the gradient of what has been promised.
PROPOSALS = {"base": False, "twisted": True}


def shifted(key: Key, transition: Transition, slope: Array) -> tuple[Array, Array]:
    """A draw x from M̃, and log M(x) − log M̃(x).

    Args:
        key: Draws ξ.
        transition: M.
        slope: In nats per unit of x, the shape of one example.

    References: Wu, Trippe, Naesseth, Blei and Cunningham (2023), eqs. 10 and 11; Girsanov's theorem for small steps.
    """
    mean, scale = transition
    xi = jax.random.normal(key, mean.shape, mean.dtype)
    x = mean + scale**2 * slope + scale * xi
    return x, -0.5 * scale**2 * jnp.sum(slope**2) - scale * jnp.sum(slope * xi)
