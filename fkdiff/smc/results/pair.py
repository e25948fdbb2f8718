"""Two runs from the same starts, the second in half the steps: what an answer owes to its steps."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp

from fkdiff.core import Array, PyTree


class Pair(eqx.Module):
    """Populations at the last time, small beside the run that they belong to.

    Attributes:
        fine: Particles in all steps, with leading axis m.
        fine_weights: Their log-weights, (m,).
        coarse: Particles in half the steps.
        coarse_weights: Their log-weights, (m,).
        share: What a difference between the two counts for: 1/(2^p − 1) for steps of order p, times the share of the
            answer that particles hold.
    """

    fine: PyTree
    fine_weights: Array
    coarse: PyTree
    coarse_weights: Array
    share: Array

    @property
    def weights(self) -> tuple[Array, Array]:
        """Log-weights of both, as `fine` and `coarse` have them."""
        return self.fine_weights, self.coarse_weights

    def bar(self, fine: Array, coarse: Array) -> Array:
        """The error of steps of an average, from its two values."""
        return jnp.abs(fine - coarse) * self.share.astype(fine.dtype)
