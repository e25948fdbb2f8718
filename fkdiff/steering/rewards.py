"""Rewards that a config may name: a closed list, each a small pytree that maps ONE example to a number in nats."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Scalar


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


def class_log_odds(coefficients, intercepts, label: Scalar) -> ClassLogOdds:
    """The log-odds of one class under a linear softmax classifier."""
    leaf = jnp.result_type(float)
    return ClassLogOdds(jnp.asarray(coefficients, leaf), jnp.asarray(intercepts, leaf), jnp.asarray(label, jnp.int32))


def ink_budget(amount: Scalar, width: Scalar) -> InkBudget:
    """A quadratic budget for the mean of an example."""
    leaf = jnp.result_type(float)
    return InkBudget(jnp.asarray(amount, leaf), jnp.asarray(width, leaf))
