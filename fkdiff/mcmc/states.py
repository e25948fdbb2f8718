"""What kernels carry and report, how they start, and how a proposal is decided."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from fkdiff.core import (
    Array,
    Kernel,
    Key,
    LogDensity,
    PyTree,
    Scalar,
    concrete,
    given,
    happens,
    number,
    require,
    select,
)
from fkdiff.core.density import Evaluation
from fkdiff.mcmc import noise
from fkdiff.mcmc.trees import like

MAX_ENERGY_ERROR = 1000.0

REFUSAL = (
    "a derivative flows through {name}, whose acceptances it would leave out (the measured errors are as large as the "
    "derivative); use fkdiff.gradients.expectation, the covariance identity E[∂f] + Cov(f, ∂ log p), or an unadjusted "
    "kernel such as fkdiff.mcmc.ula."
)


class State(NamedTuple):
    """Where a chain is.

    Attributes:
        position: A pytree.
        evaluation: Every term of the density there with its gradient, unweighted.
    """

    position: PyTree
    evaluation: Evaluation


class Info(NamedTuple):
    """What an adjusted step did.

    Attributes:
        acceptance_prob: Of the proposal, in [0, 1].
        accepted: Whether it was accepted.
        divergent: Whether its energy was NaN, or rose by more than 1000 where an integrator made it. A proposal beyond
            a hard wall, where the density is 0, is rejected and is no divergence.
        energy_change: H(proposal) − H(start) in nats; of a random walk −Δ log p.
        distance: |proposal − start|; its square times `acceptance_prob` is the expected squared jump.
    """

    acceptance_prob: Array
    accepted: Array
    divergent: Array
    energy_change: Array
    distance: Array


class UnadjustedInfo(NamedTuple):
    """What an unadjusted step did.

    Attributes:
        divergent: Whether it arrived where the log-density, or the position, is not finite.
    """

    divergent: Array


def kernel_of(module: Any, gradient: str, evaluations: int = 1) -> Kernel:
    """A module's `init` and `step` as a kernel: functions that `jax.jit` can hash and whose arrays are leaves."""
    return Kernel(Partial(type(module).init, module), Partial(type(module).step, module), gradient, evaluations)


def step_length(argument: str, value: Scalar) -> Array:
    """A positive number as a leaf."""
    leaf = number(argument, value, action="a step is a length in the position's units")
    known = concrete(leaf)
    require(known is None or bool(known > 0), f"{argument}={known} must be positive; start at about 0.1 and adapt it.")
    return leaf


def real_position(position: PyTree) -> PyTree:
    """The position as arrays of a dtype of their own; Python numbers take the default."""
    with given():
        position = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=jnp.result_type(leaf)), position)
    require(bool(jax.tree.leaves(position)), "the position holds no array; pass a pytree of real arrays.")
    for leaf in jax.tree.leaves(position):
        require(
            bool(jnp.issubdtype(leaf.dtype, jnp.floating)),
            f"the position has a leaf of dtype {leaf.dtype} and kernels move real numbers; pass floating-point arrays.",
        )
    return position


def start(density: LogDensity, position: PyTree, gradient: bool = True) -> State:
    """The first state: one evaluation; refuses a start where the log-density is not a finite number, if known now."""
    position = real_position(position)
    evaluation = density.evaluate(position, gradient)
    for grad in evaluation.grads or ():
        like("the gradient of the log-density", grad, position)
    value = concrete(density.value(evaluation))
    require(
        value is None or bool(np.isfinite(value)),
        f"the log-density at the start is {value}; start the chain where the density is positive and finite.",
    )
    return State(position, evaluation)


def metropolis(
    key: Key,
    name: str,
    density: LogDensity,
    old: State,
    new: State,
    kinetic: Array,
    distance: Array,
    limit: float = jnp.inf,
) -> tuple[State, Info]:
    """Accepts with probability min(1, e^{−ΔH}), decided in at least float32; NaN and a density of +∞ are rejected.

    Args:
        key: Draws the decision.
        name: Of the kernel, for the refusal of a derivative.
        density: Gives −Δ log p of both states.
        old: Where the chain is.
        new: What is proposed.
        kinetic: The rest of ΔH: of momenta, or of the ratio of proposals.
        distance: |new − old|.
        limit: A rise of the energy beyond it is a divergence. However far it falls, the proposal is accepted: a start
            far out in the tails is left so.

    Gradients: refused, with the name of the identity that is right.
    """
    before, after = density.value(old.evaluation), density.value(new.evaluation)
    change = before - after + kinetic.astype(after.dtype)
    bad = jnp.isnan(change) | (after == jnp.inf)
    # Beyond a wall the density is 0 at a finite place, which a step that blew up does not reach with finite energy.
    # The gradient beyond may be NaN, and then so is the kinetic part.
    wall = (after == -jnp.inf) & jnp.isfinite(distance) & ~(kinetic > limit)
    probability = jnp.where(bad, jnp.zeros_like(change), jnp.exp(-jnp.maximum(change, 0)))
    accepted = happens(noise.uniform(key, probability), probability, REFUSAL.format(name=name))
    return select(accepted, new, old), Info(probability, accepted, (bad | (change > limit)) & ~wall, change, distance)


def unadjusted(density: LogDensity, position: PyTree) -> tuple[State, UnadjustedInfo]:
    """The state at a new position: one evaluation."""
    evaluation = density.evaluate(position)
    return State(position, evaluation), UnadjustedInfo(~jnp.isfinite(density.value(evaluation)))
