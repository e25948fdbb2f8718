"""How a reward is paid out along the path.

With R_k = λ r(clean(x_k)), a statistic m_k of R_0 … R_k and a ramp ρ_k, the particle carries what it has been paid:

    log G_0 = a_0 = ρ_0 m_0
    log G_k = ρ_k m_k − ρ_{k−1} m_{k−1},    a_k = a_{k−1} + log G_k
    final:    λ r(x_K) − a_K

The product of all G is e^{λ r(x_K)} for every choice of statistic and ramp, so the terminal law is p_base e^{λr} at any
number of steps; the choice only moves variance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from fkdiff.core import Array

# statistic(previous m, new R, number of rewards seen before) -> new m
Statistic = Callable[[Array, Array, Array], Array]

POTENTIALS: dict[str, Statistic] = {
    "difference": lambda m, reward, seen: reward,
}


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
    promised = jnp.where(ramp == 0, jnp.zeros_like(reward), ramp * reward)
    return Account(reward, promised, promised, promised)


def paid(statistic: Statistic, account: Account, reward: Array, ramp: Array, seen: Array) -> Account:
    """The account after one more step."""
    new = statistic(account.statistic, reward, seen)
    # 0 · (−inf) is NaN, and a ramp of 0 means that nothing has been promised yet.
    promised = jnp.where(ramp == 0, jnp.zeros_like(new), ramp * new)
    # Dead twice is dead once: −inf − (−inf) is NaN.
    increment = jnp.where(promised == account.promised, jnp.zeros_like(new), promised - account.promised)
    return Account(new, promised, account.paid + increment, increment)
