"""How a reward is paid out along the path.

With R_k = λ r(clean(x_k)) or another guess at what the end will pay, a statistic m_k of R_0 … R_k and a ramp ρ_k, the
particle carries what it has been paid:

    log G_0 = a_0 = ρ_0 m_0
    log G_k = ρ_k m_k − ρ_{k−1} m_{k−1},    a_k = a_{k−1} + log G_k
    final:    λ r(x_K) − a_K

The product of all G is e^{λ r(x_K)} for every choice of guess, statistic and ramp, so the terminal law is p_base e^{λr}
at any number of steps; the choice only moves variance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from fkdiff.core import Array

# statistic(previous m, new R, number of rewards seen before) -> new m
Statistic = Callable[[Array, Array, Array], Array]


def _latest(m: Array, reward: Array, seen: Array) -> Array:
    return reward


def _largest(m: Array, reward: Array, seen: Array) -> Array:
    return jnp.maximum(m, reward)


def _mean(m: Array, reward: Array, seen: Array) -> Array:
    return m + (reward - m) / (seen + 1)


# "sum" is the running mean: a running sum would grow with the number of steps and promise more than the end can pay.
# "terminal" promises nothing on the way: its ramp is 0.
POTENTIALS: dict[str, Statistic] = {"difference": _latest, "max": _largest, "sum": _mean, "terminal": _latest}


class Account(NamedTuple):
    """What a particle has been promised and paid; scalars.

    Attributes:
        statistic: m_k.
        promised: ρ_k m_k.
        paid: a_k, the sum of log G_0 … log G_k.
        increment: log G_k.
    """

    statistic: Array
    promised: Array
    paid: Array
    increment: Array


def opened(reward: Array, ramp: Array) -> Account:
    """The account at the first time."""
    due = promise(reward, ramp)
    return Account(reward, due, due, due)


def paid(statistic: Statistic, account: Account, reward: Array, ramp: Array, seen: Array) -> Account:
    """The account after one more step."""
    new = statistic(account.statistic, reward, seen)
    return settled(account, new, promise(new, ramp))


def settled(account: Account, statistic: Array, promised: Array) -> Account:
    """The account once another amount is promised: the difference is paid."""
    # Dead twice is dead once: −inf − (−inf) is NaN.
    same = promised == account.promised
    increment = jnp.where(same, jnp.zeros_like(promised), promised - account.promised)
    return Account(statistic, promised, account.paid + increment, increment)


def promise(statistic: Array, ramp: Array) -> Array:
    """ρ m; nothing at ρ = 0, whatever m is, since 0 · (−inf) is NaN."""
    return jnp.where(ramp == 0, jnp.zeros_like(statistic), ramp * statistic)
