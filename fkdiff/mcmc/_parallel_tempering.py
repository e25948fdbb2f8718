"""Parallel tempering: replicas at a ladder of temperatures, which move by themselves and swap with neighbours.

    π(x_1, …, x_K) = Π_k γ_{λ_k}(x_k),    γ_λ ∝ reference · likelihood^λ

Neighbours k, k + 1 swap with probability min(1, exp((λ_{k+1} − λ_k)(ℓ(x_k) − ℓ(x_{k+1})))), which leaves π invariant.
Even and odd pairs take turns, deterministically: replicas then travel along the ladder instead of diffusing, and the
number of round trips per step tends to a limit as the ladder grows finer, where random turns let it vanish.

References: Geyer (1991); Syed et al. (2022), algorithm 1 and eq. 9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import (
    Array,
    Kernel,
    Key,
    LogDensity,
    PyTree,
    concrete,
    expect,
    given,
    happens,
    log_density,
    particle_keys,
    require,
    stream,
    widened,
)
from fkdiff.core.keys import Use
from fkdiff.mcmc import noise
from fkdiff.mcmc.states import REFUSAL, kernel_of


class Ladder(NamedTuple):
    """The replicas, by temperature.

    Attributes:
        position: Of the replica at the last temperature, which is the target's if that is 1.
        evaluation: Its values and gradients.
        replicas: Kernel states, leading axis K.
        walker: Which of the K walkers is at each temperature, int32 (K,).
        rising: Whether each walker has visited the first temperature since it was last at the last, bool (K,).
        round_trips: Journeys up and down completed, over all walkers.
        count: Steps made.
    """

    position: PyTree
    evaluation: Any
    replicas: Any
    walker: Array
    rising: Array
    round_trips: Array
    count: Array


class LadderInfo(NamedTuple):
    """What one step did.

    Attributes:
        acceptance_prob: Of the move at the last temperature.
        divergent: Whether it diverged.
        acceptance: Of the moves at every temperature, (K,).
        swap_prob: Probability of each pair's swap, (K − 1,); NaN for the pairs whose turn it was not.
    """

    acceptance_prob: Array
    divergent: Array
    acceptance: Array
    swap_prob: Array


class ParallelTempering(eqx.Module):
    """See `parallel_tempering`."""

    density: LogDensity
    move: Callable[[LogDensity], Kernel]
    temperatures: Array

    @property
    def size(self) -> int:
        """K."""
        return self.temperatures.shape[0]

    def _each(self, method: str) -> Callable:
        """`init` or `step` of every temperature's kernel, over the replicas."""

        def one(temperature: Array, *arguments: Any) -> Any:
            kernel = self.move(LogDensity(self.density.terms, (jnp.ones_like(temperature), temperature)))
            expect("move(log_density)", kernel, Kernel, "return a fkdiff.Kernel, such as those of fkdiff.mcmc")
            return getattr(kernel, method)(*arguments)

        return lambda *arguments: jax.vmap(one)(self.temperatures, *arguments)

    def init(self, key: Key, position: PyTree) -> Ladder:
        """Every replica at one position. Cost: K evaluations."""
        copies = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.size, *jnp.shape(leaf))), position)
        replicas = self._each("init")(particle_keys(stream(key, Use.INITIAL), self.size), copies)
        require(
            hasattr(replicas, "evaluation"),
            f"the kernel's state is a {type(replicas).__name__} without .evaluation, by which replicas swap; use a "
            "kernel of fkdiff.mcmc.",
        )
        walkers, none = jnp.arange(self.size, dtype=jnp.int32), jnp.int32(0)
        return self._ladder(replicas, walkers, jnp.zeros((self.size,), bool), none, none)

    def step(self, key: Key, state: Ladder) -> tuple[Ladder, LadderInfo]:
        """One move of every replica, then the swaps of the pairs whose turn it is."""
        keys = particle_keys(stream(key, Use.MOVE), self.size)
        replicas, info = self._each("step")(keys, state.replicas)
        probability, order = self._swaps(stream(key, Use.REFRESH), replicas, state.count)
        replicas = jax.tree.map(lambda leaf: leaf[order], replicas)
        walker = state.walker[order]
        low, high = walker[0], walker[-1]
        trips = state.round_trips + state.rising[high].astype(jnp.int32)
        rising = state.rising.at[high].set(False).at[low].set(True)
        ladder = self._ladder(replicas, walker, rising, trips, state.count + 1)
        dtype = probability.dtype
        accepted = getattr(info, "acceptance_prob", None)
        acceptance = jnp.ones((self.size,), dtype) if accepted is None else accepted.astype(dtype)
        divergent = getattr(info, "divergent", jnp.zeros((self.size,), bool))
        return ladder, LadderInfo(acceptance[-1], divergent[-1], acceptance, probability)

    def _swaps(self, key: Key, replicas: Any, count: Array) -> tuple[Array, Array]:
        """(probability of each pair, NaN out of turn; which replica goes where)."""
        likelihood = widened(replicas.evaluation.values[1])
        gaps = jnp.diff(self.temperatures).astype(likelihood.dtype)
        change = gaps * (likelihood[:-1] - likelihood[1:])
        probability = jnp.where(jnp.isnan(change), jnp.zeros_like(change), jnp.exp(jnp.minimum(change, 0)))
        turn = (jnp.arange(self.size - 1, dtype=jnp.int32) + count) % 2 == 0
        swap = turn & happens(noise.uniform(key, probability), probability, REFUSAL.format(name="parallel_tempering"))
        order = jnp.arange(self.size, dtype=jnp.int32)
        # Pairs of one turn do not overlap: each place looks up, or down, or stays.
        up = jnp.concatenate([swap, jnp.zeros((1,), bool)])
        down = jnp.concatenate([jnp.zeros((1,), bool), swap])
        order = order + up.astype(jnp.int32) - down.astype(jnp.int32)
        return jnp.where(turn, probability, jnp.nan), order

    def _ladder(self, replicas: Any, walker: Array, rising: Array, trips: Array, count: Array) -> Ladder:
        last = jax.tree.map(lambda leaf: leaf[-1], (replicas.position, replicas.evaluation))
        return Ladder(last[0], last[1], replicas, walker, rising, trips, count)


def parallel_tempering(
    log_reference: Callable[[PyTree], Array],
    log_likelihood: Callable[[PyTree], Array],
    move: Callable[[LogDensity], Kernel],
    temperatures: Any,
) -> Kernel:
    """A kernel on K replicas, of which the last has the law reference · likelihood^{λ_K}.

    The round-trip rate `state.round_trips / state.count` says how often a walker went from the last temperature to the
    first and back: modes are exchanged that often. Choose temperatures so that all swap probabilities are about equal.

    Args:
        log_reference: log of a density that `move` explores well, ONE position.
        log_likelihood: In nats; the target is reference · likelihood.
        move: `move(log_density) -> Kernel`; its states need `.evaluation`, as those of `fkdiff.mcmc` have.
        temperatures: λ_1 < … < λ_K, shape (K,), K ≥ 2, usually from 0 to 1. Leaves: others compile nothing.

    Returns:
        `Kernel`; its state is a `Ladder` and its info a `LadderInfo`. `run_chain` runs it like any other.

    Raises:
        FkdiffError: The temperatures do not increase or leave [0, 1], or the kernel's state lacks `.evaluation`.

    Cost: K steps of the kernel; swaps evaluate nothing.

    Gradients: refused, naming `fkdiff.gradients.expectation`.

    References: Geyer (1991); Syed et al. (2022).
    """
    require(
        callable(move) and not issubclass(type(move), Kernel),
        "move is not a function of the log-density; pass move=lambda f: fkdiff.mcmc.hmc(f, 0.1, 10).",
    )
    with given():
        ladder = jnp.asarray(temperatures, jnp.result_type(float))
    require(
        ladder.ndim == 1 and ladder.shape[0] >= 2,
        f"temperatures has shape {ladder.shape}; pass at least two in one dimension, such as jnp.linspace(0, 1, 8).",
    )
    known = concrete(ladder)
    require(
        known is None or bool(np.all(np.diff(known) > 0) and known[0] >= 0 and known[-1] <= 1),
        f"temperatures={known} must increase strictly within [0, 1]; the last, usually 1, is the target's.",
    )
    density = log_density(log_reference, log_likelihood)
    probe = move(density)
    expect("move(log_density)", probe, Kernel, "return a fkdiff.Kernel, such as those of fkdiff.mcmc")
    cost = probe.evaluations * ladder.shape[0]
    return kernel_of(ParallelTempering(density, move, ladder), "refused", cost)
