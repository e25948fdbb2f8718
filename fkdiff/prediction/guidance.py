"""Classifier-free guidance as an operation on predictors: the uncorrected heuristic.

Its samples follow no stated law. `fkdiff.correctors.guidance` reaches q_u^{1−w} q_c^w exactly, by weights.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, PyTree, Scalar, concrete, require
from fkdiff.paths import Path
from fkdiff.prediction.predictor import Prediction, Predictor


class GuidedRule(eqx.Module):
    """unconditional + scale (conditional − unconditional), inside an interval of times."""

    conditional: Predictor
    unconditional: Predictor
    scale: Array
    interval: tuple[Array, Array] | None

    def __call__(self, x: Array, t: Array, cond: PyTree) -> Prediction:
        # A condition bound to the guided model belongs to its conditional half.
        conditional = self.conditional if cond is None else self.conditional.given(cond)
        with_cond, without = conditional(x, t), self.unconditional(x, t)
        scale = self.scale
        if self.interval is not None:
            inside = (t >= self.interval[0]) & (t <= self.interval[1])
            scale = jnp.where(inside, scale, jnp.ones_like(scale))
        return jax.tree.map(lambda c, u: u + scale * (c - u), with_cond, without)


def _same(a: Path, b: Path) -> bool:
    """Whether two paths agree in kind, and in every number that is known now."""
    if jax.tree.structure(a) != jax.tree.structure(b):
        return False
    pairs = ((concrete(p), concrete(q)) for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
    return all(p is None or q is None or np.array_equal(p, q) for p, q in pairs)


def guide(
    conditional: Predictor,
    unconditional: Predictor,
    scale: Scalar,
    interval: tuple[Scalar, Scalar] | None = None,
) -> Predictor:
    """Classifier-free guidance: every view is unconditional + scale (conditional − unconditional).

    Args:
        conditional: The model given its condition.
        unconditional: The model without, on the same path.
        scale: Guidance scale w; 1 is the conditional model, 0 the unconditional.
        interval: (t_from, t_to) outside which the conditional model is used alone (scale 1).

    Returns:
        A `Predictor` with two model calls per evaluation. `given` binds its condition to `conditional`.

    References:
        Ho and Salimans (2022), eq. 6; Kynkäänniemi et al. (2024) for the interval.
    """
    require(
        conditional.shape == unconditional.shape,
        f"conditional has shape {conditional.shape} and unconditional {unconditional.shape}; they must agree.",
    )
    require(
        _same(conditional.path, unconditional.path),
        "conditional and unconditional live on different paths; guidance mixes their predictions at one time, so "
        "use one path, or fkdiff.correctors.guidance, which allows two.",
    )
    leaf = jnp.result_type(float)
    bounds = None if interval is None else (jnp.asarray(interval[0], leaf), jnp.asarray(interval[1], leaf))
    rule = GuidedRule(conditional, unconditional, jnp.asarray(scale, leaf), bounds)
    coupled = conditional.coupled or unconditional.coupled
    return Predictor(path=conditional.path, rule=rule, shape=conditional.shape, coupled=coupled)
