"""A model at (x, t), independent of what its network outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, FkdiffError, PyTree, Scalar, require
from fkdiff.paths import Path


class Prediction(NamedTuple):
    """Four views of one prediction, each with the shape of one example.

    Attributes:
        clean: E[clean | x_t = x].
        noise: E[noise | x_t = x] = −σ score.
        velocity: Velocity of the probability flow, α̇ clean + σ̇ noise = c x + κ score.
        score: ∇ log q_t(x).
    """

    clean: Array
    noise: Array
    velocity: Array
    score: Array


class Predictor(eqx.Module):
    """A trained or exact model: `pred(x, t) -> Prediction` for ONE example.

    Attributes:
        path: The Gaussian path that the model lives on.
        rule: `rule(x, t, cond) -> Prediction`, itself a pytree (parameters are leaves).
        shape: Shape of one example.
        cond: The bound condition, any pytree; None is unconditional.
        log_density: `log_density(x, t, cond) -> log q_t(x)` where it is known; else None. Normalised for exact laws,
            up to a constant at each time for learned energies: see `normalized`.
        normalized: Whether `log_density` integrates to one at every time.
        coupled: The model was trained on pairs of noise and data, and its `score` is NaN: see `Parameterization`.

    Gradients: pathwise, in x, t, the parameters and the condition.
    """

    path: Path
    rule: Callable[[Array, Array, PyTree], Prediction]
    shape: tuple[int, ...] = eqx.field(static=True)
    cond: PyTree = None
    log_density: Callable[[Array, Array, PyTree], Array] | None = None
    coupled: bool = eqx.field(static=True, default=False)
    normalized: bool = eqx.field(static=True, default=True)

    def __call__(self, x: Array, t: Scalar) -> Prediction:
        """The prediction at position `x` (shape `self.shape`) and time `t` (a scalar)."""
        self._require_one(x, "pred")
        return self.rule(x, jnp.asarray(t, jnp.result_type(float)), self.cond)

    def _require_one(self, x: Array, name: str) -> None:
        require(
            jnp.shape(x) == self.shape,
            f"x has shape {jnp.shape(x)} and this model takes ONE example of shape {self.shape}; "
            f"for a batch use jax.vmap({name}, (0, None)).",
        )

    def log_prob(self, x: Array, t: Scalar) -> Array:
        """log q_t(x), where the model knows it.

        Raises:
            FkdiffError: The model has no density; use `fkdiff.log_prob`, which integrates the flow.
        """
        if self.log_density is None:
            raise FkdiffError(
                "this model has no closed-form density; use fkdiff.log_prob(pred, x), which integrates the flow."
            )
        self._require_one(x, "pred.log_prob")
        return self.log_density(x, jnp.asarray(t, jnp.result_type(float)), self.cond)

    def given(self, cond: PyTree) -> Predictor:
        """The same model with a condition bound (any pytree; None = unconditional)."""
        cond = None if cond is None else _as_leaves(cond)
        return eqx.tree_at(lambda p: p.cond, self, cond, is_leaf=lambda leaf: leaf is None)


def _as_leaves(cond: PyTree) -> PyTree:
    # A Python number would be static under filter_jit, and every new label would compile again.
    return jax.tree.map(jnp.asarray, cond)
