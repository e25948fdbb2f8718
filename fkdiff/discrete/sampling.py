"""Plain sampling: from noise to data through factorised transitions."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import (
    Array,
    Key,
    categorical,
    chunk_size,
    chunked_vmap,
    concrete,
    expect,
    one_key,
    require,
    times_of,
    whole,
)
from fkdiff.core.choices import TOKENS
from fkdiff.core.keys import Use, stream
from fkdiff.discrete.predictor import DiscretePredictor


class Factorised(eqx.Module):
    """Independent tokens.

    Attributes:
        log_probs: (L, V + 1), the mask last.
    """

    log_probs: Array

    def sample(self, key: Key) -> Array:
        """Draws a sequence, (L,) int32."""
        return categorical(key, self.log_probs, TOKENS)

    def log_prob(self, tokens: Array) -> Array:
        """log-probability of a sequence."""
        return jnp.take_along_axis(self.log_probs, tokens[:, None], axis=1).sum()


def transition(pred: DiscretePredictor, tokens: Array, t0: Array, t1: Array) -> Factorised:
    """The law of x at t1 given x at t0, every token by itself: exact as t1 → t0, and where tokens are independent.

    Cost: one evaluation.
    """
    return Factorised(pred.process.posterior(pred(tokens, t0), tokens, t0, t1))


def sample(key: Key, pred: DiscretePredictor, grid: Array, num_samples: int, chunk: int | None = None) -> Array:
    """Ancestral sampling: `num_samples` sequences, (num_samples, L).

    Args:
        key: One typed key; sample i depends on the key and i alone.
        pred: The denoiser.
        grid: Increasing times from 0 to 1, (K + 1,). Tokens that change in one step do so independently: K must be
            large beside L for their correlations to come out.
        num_samples: How many.
        chunk: Sequences per model call.

    Cost: K evaluations. References: Austin et al. (2021), eq. 3; Sahoo et al. (2024), eq. 6.
    """
    expect("pred", pred, DiscretePredictor, "pass fkdiff.discrete.denoiser(...) or a law's .predictor(process)")
    return _sample(one_key(key), pred, unit_grid(grid), whole("num_samples", num_samples), chunk_size(chunk))


@eqx.filter_jit
def _sample(key, pred, grid, num_samples, chunk):
    def one(index):
        own = jax.random.fold_in(key, index)

        def body(tokens, step):
            number, t0, t1 = step
            law = transition(pred, tokens, t0, t1)
            return law.sample(stream(jax.random.fold_in(own, number), Use.MOVE)), None

        steps = (jnp.arange(1, grid.shape[0]), grid[:-1], grid[1:])
        return jax.lax.scan(body, pred.process.start(stream(own, Use.INITIAL), pred.length), steps)[0]

    return chunked_vmap(one, chunk)(jnp.arange(num_samples))


def unit_grid(grid: Array) -> Array:
    """Refuses a grid that does not increase from 0 to 1."""
    grid = times_of(grid)
    require(
        grid.ndim == 1 and grid.shape[0] >= 2,
        f"grid has shape {grid.shape}; pass times such as jnp.linspace(0, 1, 17).",
    )
    known = concrete(grid)
    fine = known is None or bool((known[1:] > known[:-1]).all() and abs(known[0]) < 1e-6 and abs(known[-1] - 1) < 1e-6)
    require(fine, "grid must increase strictly from 0 (noise) to 1 (data); use jnp.linspace(0, 1, num_steps + 1).")
    return grid
