"""A learned value: log E[e^{λ r(x_K)} | x_k = x], fitted to roll-outs of the very chain that is to be steered.

    L(V) = E[ e^{λ r(x_K) − V(x_k, t_k)} + V(x_k, t_k) ]

is least where e^V is the conditional mean of e^{λr} (the Itakura–Saito divergence from it): no logarithm of an average,
hence no bias from few roll-outs per point, which regression of log-mean-exp has.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from flax import nnx

from fkdiff import nn
from fkdiff.core import Array, Key, PyTree, Scalar, number, one_key, require, whole
from fkdiff.core.keys import Use, stream
from fkdiff.paths import Path
from fkdiff.prediction import Predictor, scalar_reward
from fkdiff.solvers import Solver, State, integrate


class Value(eqx.Module):
    """value(x, t) in nats, a network on x/√(α² + σ²) and the log-SNR; a pytree, its parameters leaves.

    Attributes:
        apply: `apply(params, x, t, cond) -> (1,)`.
        params: Parameters.
        base: log-mean-exp of the rewards of all roll-outs, which the network corrects.
        path: The path.
    """

    apply: Callable = eqx.field(static=True)
    params: PyTree
    base: Array
    path: Path

    def __call__(self, x: Array, t: Array) -> Array:
        inside = jnp.sqrt(self.path.alpha(t) ** 2 + self.path.sigma(t) ** 2).astype(x.dtype)
        out = self.apply(self.params, x.reshape(-1) / inside, self.path.log_snr(t) / 9, None)
        return self.base.astype(x.dtype) + out[0]


def _position(state: State) -> Array:
    return state.x


def fit_value(
    key: Key,
    pred: Predictor,
    solver: Solver,
    reward: Callable[[Array], Array],
    grid: Array,
    *,
    strength: Scalar = 1.0,
    num_rollouts: int = 16384,
    num_steps: int = 600,
    batch_size: int = 2048,
    width: int = 32,
    depth: int = 2,
    learning_rate: Scalar = 3e-3,
) -> Value:
    """Learns the value of a reward from plain roll-outs; pass it to `fkdiff.steer(estimate=learned(value))`.

    A bad fit costs variance and never the law.

    Args:
        key: Draws the roll-outs, the initial parameters and the batches.
        pred: The model.
        solver: The stochastic solver that will be steered.
        reward: `reward(x) -> scalar` for ONE example.
        grid: The times that will be steered over.
        strength: λ, which the value has inside; steer with the same.
        num_rollouts: Chains; rewards that few of them find are learned badly.
        num_steps: Steps of Adam, with cosine decay; too many of them memorise single roll-outs.
        batch_size: Points (x_k, t_k) per step.
        width: Width of the network.
        depth: Residual blocks.
        learning_rate: Of Adam.

    Cost: num_rollouts × the chain's evaluations, and num_steps small batches. Memory: all positions of all roll-outs.

    References: Singhal et al. (2025), section 3.2, for learned rewards; Lu et al. (2023) for fitting exponentials.
    """
    key, num_steps = one_key(key), whole("num_steps", num_steps)
    strength = number("strength", strength)
    ends, positions = integrate(
        stream(key, Use.NOISE), pred, solver, grid, whole("num_rollouts", num_rollouts), collect=_position
    )
    rewards = strength * jax.vmap(lambda x: scalar_reward(reward, x))(ends)
    require(
        bool(jnp.all(jnp.isfinite(rewards))),
        "some roll-outs have rewards that are not finite; a value is learned from finite ones: soften the reward.",
    )
    base = jax.nn.logsumexp(rewards) - math.log(rewards.shape[0])
    network = nn.MLP(math.prod(pred.shape), width, depth, out=1, rngs=nnx.Rngs(params=stream(key, Use.INITIAL)))
    apply, params = nn.functional(network)
    value = Value(apply, params, base, pred.path)
    times = jnp.asarray(grid, jnp.result_type(float))
    positions = jnp.concatenate([positions, ends[:, None]], axis=1)  # at the end the value is the reward
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(float(learning_rate), num_steps))
    )
    return _descend(stream(key, Use.DATA), value, optimizer, positions, times, rewards, num_steps, batch_size)


def value_loss(value: Callable[[Array, Array], Array], x: Array, t: Array, reward: Array) -> Array:
    """e^{λr − V} + V at ONE point; least in the mean where e^V = E[e^{λr} | x, t]."""
    guess = value(x, t)
    return jnp.exp(reward - guess) + guess


@eqx.filter_jit
def _descend(key, value, optimizer, positions, times, rewards, num_steps, batch_size) -> Value:
    count, levels = positions.shape[:2]

    def loss(params, indices, levels_at):
        trial = eqx.tree_at(lambda v: v.params, value, params)
        points = jax.vmap(lambda i, k: value_loss(trial, positions[i, k], times[k], rewards[i]))
        return jnp.mean(points(indices, levels_at))

    def step(carry, k):
        params, state = carry
        key_chain, key_level = jax.random.split(jax.random.fold_in(key, k))
        indices = jax.random.randint(key_chain, (batch_size,), 0, count)
        levels_at = jax.random.randint(key_level, (batch_size,), 0, levels)
        gradient = jax.grad(loss)(params, indices, levels_at)
        # optax counts in int32 and multiplies by floats, which strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (value.params, optimizer.init(value.params)), jnp.arange(num_steps))
    return eqx.tree_at(lambda v: v.params, value, params)
