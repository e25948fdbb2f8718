"""Markov kernels of blackjax as ours, and ours as blackjax's; blackjax itself is not imported."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax.tree_util import Partial

from fkdiff.core import Array, FkdiffError, Kernel, Key, PyTree, expect, require


class OutsideInfo(NamedTuple):
    """What an outside step reports, in the names that `fkdiff.run_chain` reads.

    Attributes:
        acceptance_prob: Its `acceptance_rate`, or `acceptance_prob`; None where it has neither.
        divergent: Its `is_divergent`; False where it has none.
        outside: The outside info itself.
    """

    acceptance_prob: Array | None
    divergent: Array
    outside: Any


class SamplingAlgorithm(NamedTuple):
    """An algorithm in blackjax's form.

    Attributes:
        init: `init(position, rng_key=None) -> state`.
        step: `step(rng_key, state) -> (state, info)`.
    """

    init: Callable[..., Any]
    step: Callable[[Key, Any], tuple[Any, Any]]


class _FromBlackjax(eqx.Module):
    start: Callable[..., Any]
    move: Callable[..., Any]
    wants_key: bool = eqx.field(static=True)

    def init(self, key, position):
        state = self.start(position, key) if self.wants_key else self.start(position)
        require(
            hasattr(state, "position"),
            f"algorithm.init returned a {type(state).__name__} without .position; pass a kernel that moves positions, "
            "such as blackjax.nuts(log_density, step_size, inverse_mass_matrix).",
        )
        return state

    def step(self, key, state):
        state, info = self.move(key, state)
        rate = getattr(info, "acceptance_rate", getattr(info, "acceptance_prob", None))
        return state, OutsideInfo(rate, jnp.asarray(getattr(info, "is_divergent", False)), info)


class _ToBlackjax(eqx.Module):
    kernel: Kernel

    def init(self, position: PyTree, rng_key: Key | None = None):
        return self.kernel.init(rng_key, position)

    def step(self, rng_key: Key, state: Any):
        return self.kernel.step(rng_key, state)


def from_blackjax(algorithm: Any) -> Kernel:
    """A `fkdiff.Kernel` of an algorithm in blackjax's form, for `run_chain`, `smc.rejuvenated` and tempering.

    Args:
        algorithm: With `init(position)` or `init(position, rng_key)`, and `step(rng_key, state) -> (state, info)`, such
            as `blackjax.nuts(log_density, step_size, inverse_mass_matrix)`. Its states need a `.position`.

    Returns:
        `Kernel`. Its state is the algorithm's own, and its info an `OutsideInfo`.

    Raises:
        FkdiffError: It is not of that form.

    Cost: that of the algorithm. Its parameters are constants of what is compiled, unless it is itself a pytree.

    Gradients: as the algorithm has them, and so declared "refused"; through an acceptance they are wrong, without an
    error here.
    """
    start, move = getattr(algorithm, "init", None), getattr(algorithm, "step", None)
    if not callable(start) or not callable(move) or isinstance(algorithm, Kernel):
        raise FkdiffError(
            f"algorithm is a {type(algorithm).__name__} and must have init(position) and step(rng_key, state); pass "
            "such as blackjax.nuts(log_density, step_size, inverse_mass_matrix)."
        )
    needed = [p for p in inspect.signature(start).parameters.values() if p.kind == p.POSITIONAL_OR_KEYWORD]
    made = _FromBlackjax(start, move, len(needed) >= 2)
    return Kernel(Partial(_FromBlackjax.init, made), Partial(_FromBlackjax.step, made), "refused")


def to_blackjax(kernel: Kernel) -> SamplingAlgorithm:
    """An algorithm in blackjax's form, for code that speaks it.

    Args:
        kernel: From `fkdiff.mcmc`, or any `fkdiff.Kernel`.

    Returns:
        `SamplingAlgorithm(init, step)`. `init` needs its `rng_key` only for kernels that draw at the start
        (`underdamped`).

    Raises:
        FkdiffError: It is not a kernel.

    Cost: that of the kernel.

    Gradients: those of the kernel.
    """
    expect("kernel", kernel, Kernel, "pass a kernel such as fkdiff.mcmc.hmc(log_density, 0.1, 10)")
    made = _ToBlackjax(kernel)
    return SamplingAlgorithm(Partial(_ToBlackjax.init, made), Partial(_ToBlackjax.step, made))
