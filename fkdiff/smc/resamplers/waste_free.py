"""Resampling in blocks: N/P ancestors, P copies of each, for chains whose every state is kept.

The expected number of copies of particle i is P · (N/P) W_i = N W_i, so E Ẑ = Z as under any scheme. The moves of
`fkdiff.smc.tempering(..., waste_free=P)` turn the copies of one ancestor into the states of one chain.

References: Dau and Chopin (2022), algorithm 2.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key
from fkdiff.smc.resamplers.ancestors import systematic_ancestors
from fkdiff.smc.resamplers.resampling import Resampled, Resampler, outcome


class Blocks(Resampler):
    """Systematic resampling of N/P particles, each P times, unless all log-weights are equal."""

    size: int = eqx.field(static=True)

    family = "waste-free"
    gradient = "refused"

    def __call__(self, key: Key, log_weights: Array) -> Resampled:
        def go(log_weights):
            u = jax.random.uniform(key, (), log_weights.dtype)
            chosen = systematic_ancestors(u, log_weights, log_weights.shape[0] // self.size)
            return outcome(jnp.repeat(chosen, self.size), log_weights)

        def keep(log_weights):
            return jnp.arange(log_weights.shape[0], dtype=jnp.int32), log_weights, jnp.asarray(False)

        # Exact draws, and a schedule that has arrived: there is nothing to equalise, and no move would follow.
        return jax.lax.cond(jnp.all(log_weights == log_weights[0]), keep, go, log_weights)
