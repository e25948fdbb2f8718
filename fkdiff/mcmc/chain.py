"""The driver of Markov kernels: one compiled scan, for one chain or many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import (
    Array,
    Kernel,
    Key,
    PyTree,
    acceptance_of,
    checkpoint_segments,
    expect,
    one_key,
    particle_keys,
    require,
    scan,
    stream,
    traced,
    whole,
    widened,
)
from fkdiff.core.keys import Use
from fkdiff.mcmc.states import real_position
from fkdiff.mcmc.trees import described


class Chain(eqx.Module):
    """What `run_chain` returns. With many chains every leaf has their axis first, `collected` its second.

    Attributes:
        state: The last state, from which `kernel.step` goes on.
        acceptance: Mean acceptance probability; None for kernels that accept everything.
        divergences: Number of divergent steps.
        collected: What `collect` returned, stacked over the steps; None without it.
        bad_start: Whether the log-density at the start was not finite.
        num_steps: Steps made.
    """

    state: Any
    acceptance: Array | None
    divergences: Array
    collected: PyTree
    bad_start: Array
    num_steps: int = eqx.field(static=True)

    @property
    def position(self) -> PyTree:
        """The last position."""
        return self.state.position

    def problems(self) -> tuple[list[str], list[str]]:
        """For `fkdiff.check`: a start that no step could leave, divergent steps, and chains that hardly move."""
        require(not traced(self.divergences), "check reads values, only outside jit; return the chain from it first.")
        divergences, bad = np.asarray(self.divergences), np.asarray(self.bad_start)
        acceptance = None if self.acceptance is None else np.asarray(self.acceptance)
        still = divergences == self.num_steps if acceptance is None else acceptance == 0
        stuck = np.atleast_1d(bad & still)
        errors, doubts = [], []
        if stuck.any():
            errors.append(
                f"{stuck.sum()} of {stuck.size} chains (first: {int(stuck.argmax())}) started where the log-density is "
                "not finite and never left; start where the density is positive; see SYMPTOMS.md#stuck-chains"
            )
        total, steps = int(np.sum(divergences)), self.num_steps * np.size(divergences)
        if total:
            doubts.append(
                f"{total} of {steps} steps were divergent, so the tails may be missed; use a smaller step size, an "
                "inverse_mass, or another parametrisation; see SYMPTOMS.md#divergent-steps"
            )
        if acceptance is not None and not float(np.mean(acceptance)) >= 0.05:
            doubts.append(
                f"the mean acceptance is {float(np.mean(acceptance)):.3f}: the chain hardly moves; use a smaller "
                "step size, such as fkdiff.mcmc.dual_averaging finds; see SYMPTOMS.md#stuck-chains"
            )
        return errors, doubts


def run_chain(
    key: Key,
    kernel: Kernel,
    position: PyTree,
    num_steps: int,
    *,
    collect: Callable[[Any, Any], PyTree] | None = None,
    num_chains: int | None = None,
    checkpoint: int | None = None,
) -> Chain:
    """`num_steps` steps of a Markov kernel, compiled once: another key, step size or mass traces nothing.

    Args:
        key: A typed key. A step's key is `fold_in` by step and then, with many chains, by chain: a chain does not
            depend on how many run beside it.
        kernel: From `fkdiff.mcmc`, or any `fkdiff.Kernel`.
        position: The start of one chain; with `num_chains`, one start each along a leading axis of every leaf.
        num_steps: Steps, compiled in.
        collect: `collect(state, info)` after every step of ONE chain; what it returns is stacked. Such as
            `lambda state, info: state.position`. By default nothing is kept but the last state.
        num_chains: How many chains, in one vmap; None for one without an extra axis.
        checkpoint: Segments, about √num_steps, that a derivative recomputes instead of keeping every step in memory.

    Returns:
        `Chain`; `fkdiff.check` raises where the start was bad and warns of divergences. Stacked leaves have shape
        (num_steps, …), or (num_steps, num_chains, …).

    Raises:
        FkdiffError: An argument is wrong.

    Cost: `num_steps` steps, and one evaluation at the start.

    Gradients: those of the kernel: pathwise, or refused by name.
    """
    one_key(key)
    expect("kernel", kernel, Kernel, "pass a kernel such as fkdiff.mcmc.hmc(log_density, 0.1, 10)")
    num_steps = whole("num_steps", num_steps, 1, "the steps of the chain")
    require(
        collect is None or callable(collect),
        f"collect={collect!r} is not a function; pass collect(state, info), or None for the last state alone.",
    )
    position = real_position(position)
    if num_chains is not None:
        num_chains = whole("num_chains", num_chains, 1, "the leading axis of every leaf of position, or None")
        axes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(position)}
        require(
            axes == {(num_chains,)},
            f"position is {described(position)} and num_chains={num_chains}; give every leaf one start per chain along "
            "its leading axis.",
        )
    return _run(key, kernel, position, num_steps, collect, num_chains, checkpoint_segments(checkpoint))


@eqx.filter_jit
def _run(key, kernel, position, num_steps, collect, num_chains, checkpoint) -> Chain:
    def spread(one):
        """A function of (key, ...) for every chain."""
        if num_chains is None:
            return one
        return lambda k, *arguments: jax.vmap(one)(particle_keys(k, num_chains), *arguments)

    def one_step(k, state):
        state, info = kernel.step(k, state)
        kept = None if collect is None else collect(state, info)
        divergent = getattr(info, "divergent", jnp.bool_(False))
        return state, (widened(acceptance_of(info)), divergent, kept)  # half precision cannot count acceptances

    steps, move = stream(key, Use.MOVE), spread(one_step)

    def body(carry, number):
        state, accepted, divergences = carry
        state, (probability, divergent, kept) = move(jax.random.fold_in(steps, number), state)
        accepted = jax.tree.map(jnp.add, accepted, probability)
        return (state, accepted, divergences + divergent.astype(jnp.int32)), kept

    first = spread(kernel.init)(stream(key, Use.INITIAL), position)
    shapes = jax.eval_shape(move, steps, first)[1]
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes[0])
    start = first, zero, jnp.zeros(shapes[1].shape, jnp.int32)
    (state, accepted, divergences), collected = scan(body, start, jnp.arange(num_steps), checkpoint)
    mean = jax.tree.map(lambda total: total / num_steps, accepted)
    return Chain(state, mean, divergences, collected, _bad(first, divergences.shape), num_steps)


def _bad(first: Any, shape: tuple[int, ...]) -> Array:
    """Where a term of the density is not finite at the start."""
    bad = jnp.zeros(shape, bool)
    for value in getattr(getattr(first, "evaluation", None), "values", ()):
        bad = bad | ~jnp.isfinite(value)
    return bad
