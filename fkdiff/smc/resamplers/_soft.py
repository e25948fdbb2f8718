"""Soft resampling: ancestors from weights mixed with uniform ones, and weights that make up for it."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, Scalar, concrete, number, require
from fkdiff.smc.resamplers.resampling import Decorated, Resampled, ResampleFunction, as_resampler


class Soft(Decorated):
    """See `soft`."""

    share: Array

    @property
    def gradient(self) -> str:
        """Biased, since the choice is dropped."""
        return "biased"

    def __call__(self, key: Key, log_weights: Array) -> Resampled:
        count, share = log_weights.shape[0], self.share.astype(log_weights.dtype)
        log_w = jax.nn.log_softmax(log_weights)
        log_q = jnp.logaddexp(jnp.log(share) + log_w, jnp.log1p(-share) - jnp.log(count))
        ancestors, _, resampled = self.resampler(key, jax.lax.stop_gradient(log_q))
        ratio = (log_w - log_q)[ancestors]
        # A zero weight that was chosen stays zero, and has no derivative.
        after = jnp.where(log_w[ancestors] == -jnp.inf, -jnp.inf, ratio)
        return ancestors, jnp.where(resampled, after, log_weights), resampled


def soft(resampler: ResampleFunction, share: Scalar = 0.5) -> Soft:
    """Ancestors from q = share · W + (1 − share)/N by `resampler`, with log-weights log W/q afterwards.

    E Ẑ = Z as without it, at a higher variance: part of the resampling is undone by the weights.

    Args:
        resampler: One of the four schemes. Put `adaptive` outside: `adaptive(soft(systematic), 0.5)`.
        share: In (0, 1); a leaf.

    Raises:
        FkdiffError: The share is not in (0, 1), or the resampler is decorated or averages.

    Gradients: *biased*. That of the weights W/q is kept and that of the choice dropped: all of it as share → 1, none as
    share → 0, where nothing is resampled.

    References: Karkus, Hsu and Lee (2018), section 4.2.
    """
    resampler = as_resampler(resampler)
    require(
        not isinstance(resampler, Decorated) and not resampler.averages,
        "soft mixes the weights of a plain scheme; decorate outside, as in adaptive(soft(systematic), 0.5).",
    )
    leaf = number("share", share, 0.0, 1.0, "how much of the weights to resample by, strictly between 0 and 1")
    known = concrete(leaf)
    require(known is None or bool(0 < known < 1), f"share={share} must lie strictly between 0 and 1; 0.5 is usual.")
    return Soft(resampler, leaf)
