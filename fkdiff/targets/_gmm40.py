"""Forty modes in a plane, far apart: does a sampler find them all, with their masses?"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.targets.mixture import GaussianMixture, gaussian_mixture


def gmm40(seed: int = 0) -> GaussianMixture:
    """40 equal Gaussians in 2-D, means uniform on [−40, 40]², standard deviation softplus(1) = 1.3133.

    The set-up is that of Midgley et al. (2023); the means are drawn here, from a seed of our own, so that single
    figures do not compare with those of other draws.

    Facts: normalised, exact draws, every mode holds 1/40.

    References: Midgley et al. (2023), section 4.1.
    """
    means = np.random.default_rng(seed).uniform(-40.0, 40.0, (40, 2))
    variance = float(jax.nn.softplus(1.0)) ** 2
    return gaussian_mixture(means, jnp.full((40,), variance), jnp.full((40,), 1 / 40))
