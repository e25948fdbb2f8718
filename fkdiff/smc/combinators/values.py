"""Value estimates: R_k, the reward at the end in nats, as estimated from where a particle is.

The best one is log E[e^{λ r(x_K)} | x_k]: with it, and the proposal that it asks for, all weights are equal. Any
estimate leaves the law alone, random ones included.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax

from fkdiff.core import Array, FkdiffError, PyTree, choose, require, scalar_reward, whole


class ValueEstimate(eqx.Module):
    """From rewards of examples, or from a position, to one number per particle."""

    @property
    def looks(self) -> bool:
        """Whether examples of where the particle will end are asked for; else `at` says it from the position."""
        return True

    def at(self, position: PyTree, t: Array) -> Array:
        """R at one position."""
        raise FkdiffError(f"a {type(self).__name__} takes rewards of examples; use `combined`.")

    @property
    def count(self) -> int:
        """How many examples of where the particle will end are looked at; 0 for the model's one estimate."""
        return 0

    def combined(self, rewards: Array) -> Array:
        """R from λ r of the examples: of the one, or over the last axis."""
        if self.count == 0:
            return rewards
        return jax.nn.logsumexp(rewards, axis=-1) - math.log(self.count)


class CleanEstimate(ValueEstimate):
    """See `clean_estimate`."""


class CleanDraws(ValueEstimate):
    """See `clean_draws`."""

    num: int = eqx.field(static=True)

    @property
    def count(self) -> int:
        return self.num


class Learned(ValueEstimate):
    """See `learned`; it looks at the position, and at no example."""

    value: Callable[[Array, Array], Array]

    @property
    def looks(self) -> bool:
        return False

    def at(self, position: PyTree, t: Array) -> Array:
        """R at one position."""
        return scalar_reward(lambda x: self.value(x, t), position)


def clean_estimate() -> CleanEstimate:
    """R = λ r(clean(x, t)): the reward at the model's clean estimate; the default.

    Cost: one reward. References: Singhal et al. (2025); Chung et al. (2023) for the estimate.
    """
    return CleanEstimate()


def clean_draws(num: int = 8) -> CleanDraws:
    """R = log (1/n) Σ e^{λ r(clean_i)} over draws clean_i of the end given x_t, λ inside.

    For a Gaussian path the draws are N(clean(x, t), (1/ς² + α²/σ²)⁻¹ I), the law of clean given x_t for data of
    variance ς² (the reference): they see rewards that are narrow or have several hills, which the clean estimate, a
    mean, steps over. For tokens they are completions.

    Args:
        num: Draws per particle and step.

    Cost: `num` rewards, no model call. References: Singhal et al. (2025), section 3.2, with λ inside the mean.
    """
    return CleanDraws(whole("num", num))


def learned(value: Callable[[Array, Array], Array]) -> Learned:
    """R = value(x, t), in nats, λ inside: an exact twist, or one trained on roll-outs (`fkdiff.train.fit_value`).

    Args:
        value: `value(x, t) -> scalar`, a function or a pytree; log E[e^{λ r(x_K)} | x_t = x] is the best there is.
    """
    require(callable(value), f"value={value!r} is not a function; pass value(x, t) -> one number in nats.")
    return Learned(value)


ESTIMATES: dict[str, Callable[[], Any]] = {"clean": clean_estimate, "draws": clean_draws}


def as_estimate(estimate: str | ValueEstimate, argument: str = "estimate") -> ValueEstimate:
    """A value estimate by its name, or as given."""
    return estimate if isinstance(estimate, ValueEstimate) else choose(argument, estimate, ESTIMATES)()
