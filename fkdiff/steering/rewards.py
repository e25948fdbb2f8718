"""Rewards: small pytrees that map ONE example to a number in nats."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Scalar, number, require
from fkdiff.prediction import scalar_reward


class ClassLogOdds(eqx.Module):
    """log p(class | x) − log p(any other class | x) under a linear softmax classifier.

    Attributes:
        coefficients: Shape (C, d).
        intercepts: Shape (C,).
        label: The class asked for, an int32 scalar.
    """

    coefficients: Array
    intercepts: Array
    label: Array

    def __call__(self, x: Array) -> Array:
        logits = self.coefficients @ x.reshape(-1) + self.intercepts
        others = jnp.where(jnp.arange(logits.shape[0]) == self.label, -jnp.inf, logits)
        return logits[self.label] - jax.nn.logsumexp(others)


class InkBudget(eqx.Module):
    """−½ ((mean ink − amount)/width)²: as much ink as asked for, no more and no less.

    Attributes:
        amount: Mean over the pixels of one example, in the unit of the data.
        width: Standard deviation allowed, in the same unit.
    """

    amount: Array
    width: Array

    def __call__(self, x: Array) -> Array:
        return -0.5 * ((jnp.mean(x) - self.amount) / self.width) ** 2


class Combined(eqx.Module):
    """Σ weights_i rewards_i.

    Attributes:
        rewards: Functions or pytrees of ONE example.
        weights: Shape (n,); leaves.
    """

    rewards: tuple[Callable[[Array], Array], ...]
    weights: Array

    def __call__(self, x: Array) -> Array:
        return sum(w * scalar_reward(r, x) for w, r in zip(self.weights, self.rewards, strict=True))  # type: ignore


def combined(rewards: Sequence[Callable[[Array], Array]], weights: Sequence[Scalar]) -> Combined:
    """Several rewards as one, Σ weights_i rewards_i(x); new weights compile nothing.

    Args:
        rewards: Functions or pytrees of ONE example.
        weights: One number each, signed.
    """
    require(
        len(rewards) > 0 and len(rewards) == len(weights),
        f"{len(rewards)} rewards and {len(weights)} weights; pass one weight per reward.",
    )
    require(all(callable(r) for r in rewards), "rewards must be functions of one example; pass [first, second].")
    return Combined(tuple(rewards), jnp.stack([number(f"weights[{i}]", w) for i, w in enumerate(weights)]))


def class_log_odds(coefficients, intercepts, label: Scalar) -> ClassLogOdds:
    """The log-odds of one class under a linear softmax classifier."""
    leaf = jnp.result_type(float)
    return ClassLogOdds(jnp.asarray(coefficients, leaf), jnp.asarray(intercepts, leaf), jnp.asarray(label, jnp.int32))


def ink_budget(amount: Scalar, width: Scalar) -> InkBudget:
    """A quadratic budget for the mean of an example."""
    leaf = jnp.result_type(float)
    return InkBudget(jnp.asarray(amount, leaf), jnp.asarray(width, leaf))
