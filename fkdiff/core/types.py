"""The few types that cross every boundary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree as PyTree

Array = jax.Array
Key = jax.Array  # a typed PRNG key, jax.random.key(seed)
Scalar = Any  # a Python number or an array of shape (): leaves, never constants


class Kernel(NamedTuple):
    """A Markov kernel as two pure functions.

    `init(key, position) -> state` and `step(key, state) -> (state, info)`; the state holds what the next
    step needs (with the position under `.position`), the info what a diagnostic needs.

    Attributes:
        init: See above.
        step: See above.
        gradient: What a derivative through `step` is: "pathwise" (right as it stands) or "refused" (a decision is made
            on the way, whose probability a pathwise derivative would drop: see `fkdiff.gradients`).
        evaluations: Of the density, with its gradient, in one step; for the cost in `info`.
    """

    init: Callable[..., Any]
    step: Callable[..., Any]
    gradient: str = "refused"
    evaluations: int = 1


class Transition(NamedTuple):
    """The Gaussian law N(mean, diag(scale²)) of the next position.

    Attributes:
        mean: Next position's mean, the shape of one example.
        scale: Standard deviation, a scalar or one for each coordinate; 0 for a deterministic step.
    """

    mean: Array
    scale: Array

    def sample(self, key: Key) -> Array:
        """Draws the next position."""
        return self.mean + self.scale * jax.random.normal(key, self.mean.shape, self.mean.dtype)


def acceptance_of(info: Any) -> Array | None:
    """The acceptance probability that a kernel's info holds; None for kernels that accept everything."""
    return getattr(info, "acceptance_prob", None)
