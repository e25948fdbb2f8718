"""Best of n: the baseline that everybody can afford, and that samples no law anybody has written down."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, deciding, take, whole
from fkdiff.prediction import Predictor, scalar_reward
from fkdiff.solvers import Solver, integrate

REFUSAL = (
    "a derivative flows through best_of_n, whose choice of the best carries none; steer by the reward with "
    "fkdiff.steer and use fkdiff.gradients.expectation."
)


def best_of_n(
    key: Key,
    pred: Predictor,
    solver: Solver,
    reward: Callable[[Array], Array],
    grid: Array,
    num_groups: int,
    n: int,
    chunk: int | None = None,
) -> tuple[Array, Array]:
    """Plain draws in groups of n, of each group the one with the largest reward.

    Its law is the n-th order statistic of the reward under the model: greedy in r, indifferent to strengths, and far
    from p e^{λr} in its tails. It is biased by design; hold `fkdiff.steer` against it at equal model calls.

    Args:
        key: One typed key.
        pred: The model.
        solver: Any solver.
        reward: `reward(x) -> scalar` for ONE example.
        grid: Times, (K + 1,).
        num_groups: How many to return.
        n: Draws per group.
        chunk: Draws per model call.

    Returns:
        The best of each group, (num_groups, *shape), and their rewards, (num_groups,).

    Cost: n times `integrate`.

    Gradients: refused, since the choice of the best carries none.

    References: Stiennon et al. (2020); Beirami et al. (2024) for its law.
    """
    num_groups, n = whole("num_groups", num_groups), whole("n", n)
    draws = integrate(key, pred, solver, grid, num_groups * n, chunk=chunk)
    rewards = jax.vmap(lambda x: scalar_reward(reward, x))(draws).reshape(num_groups, n)
    best = jnp.argmax(deciding(rewards, REFUSAL), axis=1)
    return take(draws, jnp.arange(num_groups) * n + best), jnp.max(rewards, axis=1)
