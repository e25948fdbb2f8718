"""A denoiser that is told some of the tokens: prompts, endings, gaps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, PyTree, concrete, expect, require
from fkdiff.discrete.predictor import DiscretePredictor
from fkdiff.discrete.processes import Masked


class InfillRule(eqx.Module):
    """The rule of another denoiser, with the known tokens always in its sight and in its answer."""

    rule: Callable[[Array, Array, PyTree], Array]
    known: Array
    mask: int = eqx.field(static=True)

    def __call__(self, tokens: Array, t: Array, cond: PyTree) -> Array:
        told = self.known != self.mask
        logits = jnp.asarray(self.rule(jnp.where(told, self.known, tokens), t, cond))
        certain = jnp.where(jnp.arange(logits.shape[1], dtype=jnp.int32)[None, :] == self.known[:, None], 0.0, -jnp.inf)
        return jnp.where(told[:, None], certain.astype(logits.dtype), logits)


def infill(pred: DiscretePredictor, known: Any) -> DiscretePredictor:
    """The denoiser of q(x | known tokens): exactly, for a denoiser that is exact.

    It composes like any other: in `sample`, `anneal`, `product`, `guidance` and `fkdiff.steer`. Sequences keep their
    whole length, and log Z is that of the law given the known tokens.

    Args:
        pred: A masked denoiser.
        known: Tokens, (L,), with the mask V wherever nothing is known; a leaf: another prompt compiles nothing.

    Raises:
        FkdiffError: The denoiser lives on another process, the shape is not (L,), or a token lies outside [0, V].

    Cost: that of the denoiser; steps in which a known token is due are spent for nothing.
    """
    expect("pred", pred, DiscretePredictor, "pass fkdiff.discrete.denoiser(...) or a law's .predictor(process)")
    process = pred.process
    require(
        isinstance(process, Masked),
        "known tokens need the masked process, where a token once revealed is certain; this denoiser lives on another.",
    )
    assert isinstance(process, Masked)
    tokens = jnp.asarray(known)
    require(
        tokens.shape == (pred.length,) and jnp.issubdtype(tokens.dtype, jnp.integer),
        f"known has shape {tokens.shape} and dtype {tokens.dtype}; pass ONE sequence of {pred.length} whole numbers, "
        f"with {process.mask} where nothing is known.",
    )
    values = concrete(tokens)
    inside = values is None or bool(np.all((values >= 0) & (values <= process.mask)))
    require(inside, f"known holds a token outside 0 to {process.mask}, the last of which is the mask.")
    rule = InfillRule(pred.rule, tokens.astype(jnp.int32), process.mask)
    return DiscretePredictor(process, rule, pred.length, pred.cond)
