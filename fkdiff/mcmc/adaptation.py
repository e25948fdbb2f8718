"""Step sizes that reach an acceptance: parameters come out, and nothing enters a kernel's state."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import (
    Array,
    Kernel,
    Key,
    PyTree,
    Scalar,
    expect,
    number,
    one_key,
    particle_keys,
    require,
    stream,
    whole,
    widened,
)
from fkdiff.core._concrete import concrete
from fkdiff.core.keys import Use
from fkdiff.mcmc.states import real_position, step_length
from fkdiff.mcmc.trees import described

# Hoffman and Gelman (2014), section 3.2.1.
SHRINKAGE, STABLE, FORGETTING = 0.05, 10.0, 0.75
DOUBLINGS = 40


class Adaptation(NamedTuple):
    """What `dual_averaging` found.

    Attributes:
        step_size: The averaged step size, a scalar.
        acceptance: Mean acceptance over the second half of the steps, while the step size was still moving.
        position: Where the chains are, a start for what follows; these draws are not in equilibrium.
    """

    step_size: Array
    acceptance: Array
    position: PyTree


def dual_averaging(
    key: Key,
    kernel: Callable[[Array], Kernel],
    position: PyTree,
    *,
    num_steps: int = 500,
    target: Scalar = 0.8,
    initial: Scalar | None = None,
    num_chains: int | None = None,
) -> Adaptation:
    """The step size at which the mean acceptance probability is `target`, by dual averaging of its logarithm.

        log ε_{t+1} = μ − (√t/γ) · mean_{s ≤ t}(target − a_s),    μ = log(10 ε_1),
        averaged with weights t^{−κ};    γ = 0.05, t_0 = 10, κ = 0.75

    A random walk and a Langevin kernel are tuned alike; with many chains a_s is their mean, and all get the same step
    size.

    Args:
        key: A typed key.
        kernel: `kernel(step_size) -> Kernel`, such as `lambda h: fkdiff.mcmc.hmc(log_density, h, 10)`. The same
            function object compiles once.
        position: The start of one chain; with `num_chains`, one start each along a leading axis of every leaf.
        num_steps: Steps, compiled in; a few hundred.
        target: In (0, 1): about 0.8 for `hmc`, 0.574 for `mala`, 0.234 for `random_walk`.
        initial: The first step size; None doubles or halves 1 until the acceptance of one step crosses ½.
        num_chains: How many chains, or None for one without an extra axis.

    Returns:
        `Adaptation(step_size, acceptance, position)`.

    Raises:
        FkdiffError: An argument is wrong, or the kernel accepts everything.

    Cost: `num_steps` steps, and at most 40 more for the first step size.

    Gradients: refused, like those of the kernel.

    References: Hoffman and Gelman (2014), algorithms 4 and 5.
    """
    require(not callable(key), "key is a function; the key comes first: dual_averaging(key, kernel, position).")
    one_key(key)
    require(
        callable(kernel) and not isinstance(kernel, Kernel),
        "kernel is not a function of the step size; pass kernel=lambda step_size: fkdiff.mcmc.hmc(log_density, "
        "step_size, 10).",
    )
    num_steps = whole("num_steps", num_steps, 2, "the steps to adapt over")
    aim = number("target", target, 0.0, 1.0, "the acceptance to reach")
    known = concrete(aim)
    require(known is None or 0 < float(known) < 1, f"target={known} must lie inside (0, 1); 0.8 suits hmc.")
    first = None if initial is None else step_length("initial", initial)
    position = real_position(position)
    if num_chains is not None:
        num_chains = whole("num_chains", num_chains, 1, "the leading axis of every leaf of position, or None")
    lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(position)}
    require(
        num_chains is None or lengths == {(num_chains,)},
        f"position is {described(position)} and num_chains={num_chains}; give every leaf one start per chain.",
    )
    return _tune(key, kernel, position, num_steps, aim, first, num_chains)


@eqx.filter_jit
def _tune(key, kernel, position, num_steps, target, first, num_chains) -> Adaptation:
    if num_chains is None:  # one chain is a batch of one
        position = jax.tree.map(lambda leaf: leaf[None], position)
    chains = num_chains or 1

    def move(k, step_size, state):
        made = kernel(step_size)
        expect("kernel(step_size)", made, Kernel, "return a kernel such as fkdiff.mcmc.hmc(log_density, step_size, 10)")
        state, info = jax.vmap(made.step)(particle_keys(k, chains), state)
        require(
            getattr(info, "acceptance_prob", None) is not None,
            "kernel(step_size) accepts everything, so no acceptance can be reached; choose the step of an unadjusted "
            "kernel by its bias.",
        )
        return state, jnp.mean(widened(info.acceptance_prob)).astype(target.dtype)

    guess = jnp.ones_like(target) if first is None else first
    state = jax.vmap(kernel(guess).init)(particle_keys(stream(key, Use.INITIAL), chains), position)
    if first is None:
        guess = _reasonable(lambda k, h: move(k, h, state)[1], stream(key, Use.PROBE), guess)
    centre, steps = jnp.log(10 * guess), stream(key, Use.MOVE)

    def body(carry, count):
        state, log_step, mean_log, error = carry
        state, acceptance = move(jax.random.fold_in(steps, count), jnp.exp(log_step), state)
        t = count.astype(target.dtype) + 1
        rate = 1 / (t + STABLE)
        error = (1 - rate) * error + rate * (target - acceptance)
        log_step = centre - jnp.sqrt(t) / SHRINKAGE * error
        share = t**-FORGETTING
        return (state, log_step, share * log_step + (1 - share) * mean_log, error), acceptance

    start = state, jnp.log(guess), jnp.zeros_like(guess), jnp.zeros_like(guess)
    (state, _, mean_log, _), acceptances = jax.lax.scan(body, start, jnp.arange(num_steps))
    position = state.position if num_chains is not None else jax.tree.map(lambda leaf: leaf[0], state.position)
    return Adaptation(jnp.exp(mean_log), jnp.mean(acceptances[num_steps // 2 :]), position)


def _reasonable(acceptance: Callable[[Key, Array], Array], key: Key, guess: Array) -> Array:
    """Doubles or halves until the acceptance of one step crosses ½, at most `DOUBLINGS` times."""
    up = acceptance(key, guess) > 0.5
    factor = jnp.where(up, 2.0, 0.5).astype(guess.dtype)

    def crossed(carry):
        count, step = carry
        return (count < DOUBLINGS) & ((acceptance(jax.random.fold_in(key, count), step) > 0.5) == up)

    return jax.lax.while_loop(crossed, lambda carry: (carry[0] + 1, carry[1] * factor), (jnp.int32(0), guess))[1]
