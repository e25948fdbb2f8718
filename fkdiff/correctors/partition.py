"""The partition estimate: particles of the weighted flow and plain draws of the models, each where it is better.

Under a control that is fixed in advance the flow is a map, which pushes the start's Gaussian to a law π₁, and every
particle knows e^ℓ = p̃/π₁ at its end. Where control drives particles out of a growing mode π₁ is tiny, e^ℓ is huge, and
no population of a reasonable size has a particle there: weights and ESS look perfect. Draws of the models themselves
are spread otherwise, and know p̃/q_i. With n particles and m_i draws of model i, all of them weighed by

    w(x) = p̃(x) / (n π₁(x) + Σ_i m_i q_i(x)),        Ẑ = Σ w

every w is bounded by e^ℓ/n and by p̃/(m_i q_i), whichever is smaller, and E Ẑ = Z at every n and m but for the steps.

References: Veach and Guibas (1995), the balance heuristic; Owen and Zhou (2000) for mixtures of proposals.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, chunked_vmap, particle_keys
from fkdiff.core.keys import Use, stream
from fkdiff.correctors import tilts as tilting
from fkdiff.correctors.rate import probe_noise, probes
from fkdiff.correctors.reference import LOG_2PI
from fkdiff.correctors.steps import STEPS, Densities


def start_densities(target, x: Array, t: Array) -> Array:
    """log q_i at the start, (M, F): Gaussians of the reference data."""
    flat = x.reshape(x.shape[0], -1)
    mean = jnp.broadcast_to(target.reference.mean, target.shape).reshape(-1)

    def one(path):
        alpha, sigma = path.alpha(t), path.sigma(t)
        variance = alpha**2 * target.reference.variance + sigma**2
        square = jnp.sum((flat - alpha * mean[None, :]) ** 2, axis=1) / variance
        return -0.5 * (square + flat.shape[1] * (LOG_2PI + jnp.log(variance)))

    return jnp.stack([one(path) for path in target.paths], axis=1)


def log_ratios(target, some: Draws, t: Array, chunk: int | None) -> Array:
    """log p̃/q_i at points of the last time, (M, F), less half the variance that probes give to it.

    Densities are the models' own where they have them, else those that were carried.
    """
    betas, carried, noise = target.betas, some.carried, some.noise
    if target.normalized:
        one = lambda z: jnp.stack([pred.log_prob(z, t) for _, pred in target.factors])  # noqa: E731
        carried, noise = chunked_vmap(one, chunk)(some.x), jnp.zeros_like(noise)
    log_target = carried @ betas + chunked_vmap(lambda z: tilting.value(target, z, t), chunk)(some.x)
    exponents = betas[None, :] - jnp.eye(betas.shape[0], dtype=betas.dtype)  # of every q_j in p̃/q_i
    return log_target[:, None] - carried - 0.5 * noise @ (exponents**2).T


def balanced(excess: Array, log_ratios: Array, num_particles: int, num_draws: Array) -> Array:
    """log w, (M,): excess is ℓ, and not finite where the flow comes from nowhere, so that π₁ is 0 there."""
    of_flow = jnp.where(jnp.isfinite(excess), math.log(num_particles) - excess, -jnp.inf)
    of_models = jnp.log(num_draws)[None, :] - log_ratios
    return -jax.nn.logsumexp(jnp.concatenate([of_flow[:, None], of_models], axis=1), axis=1)


class Flow(NamedTuple):
    """Points carried by one model's own flow.

    Attributes:
        x: Where they arrive, (M, *shape).
        growth: ∫ −∇·v dt along the way, (M,).
        noise: Its variance by probes, (M,).
    """

    x: Array
    growth: Array
    noise: Array


def flow(key: Key, model, index: int, x: Array, times: Array, divergences: bool) -> Flow:
    """Heun steps of model `index` through `times`, in either direction.

    Args:
        key: For probes.
        model: A `Corrector`: its target, and whether divergences run over a basis.
        index: Which factor.
        x: Points at times[0], (M, *shape).
        times: Monotone, (K + 1,).
        divergences: Whether ∫ −∇·v is wanted; zeros otherwise.

    Cost: two evaluations a step, and as many jvps times the directions where divergences are wanted.
    """
    pred = model.target.factors[index][1]

    def slope(particle_key, z, t):
        if not divergences:
            return pred(z, t).velocity, jnp.zeros((), z.dtype), jnp.zeros((), z.dtype)
        directions = probes(particle_key, z.shape, z.dtype, model.exact)
        velocity, images = jax.vmap(lambda p: jax.jvp(lambda y: pred(y, t).velocity, (z,), (p,)), out_axes=(None, 0))(
            directions
        )
        divergence = jnp.sum(images * directions)
        noise = jnp.zeros((), z.dtype)
        if not model.exact:
            # The affine part of a velocity turns the probe into itself, and has no noise.
            noise = probe_noise(images, jnp.sum(images * directions)[None])[0, 0]
        return velocity, -divergence, noise

    def one(particle_key, z):
        def body(carry, step):
            z, growth, noise = carry
            number, t0, t1 = step
            h, (key0, key1) = t1 - t0, jax.random.split(jax.random.fold_in(particle_key, number))
            first, grown0, noise0 = slope(key0, z, t0)
            second, grown1, noise1 = slope(key1, z + h * first, t1)
            moved = z + 0.5 * h * (first + second)
            return (moved, growth + 0.5 * h * (grown0 + grown1), noise + 0.25 * h**2 * (noise0 + noise1)), None

        zero = jnp.zeros((), z.dtype)
        steps = (jnp.arange(times.shape[0] - 1), times[:-1], times[1:])
        return jax.lax.scan(body, (z, zero, zero), steps)[0]

    keys = particle_keys(stream(jax.random.fold_in(key, index), Use.PROBE), x.shape[0])
    return Flow(*chunked_vmap(one, model.chunk)(keys, x))


class Journey(NamedTuple):
    """What particles gathered along their times.

    Attributes:
        x: Where they are, (M, *shape).
        increments: Of their log-weights, constants included and the noise of probes not yet taken off, (M,).
        noise: The variance that probes gave to the increments, (M,).
        densities: What log q_i grew by, and its variance by probes: two arrays (M, F).
    """

    x: Array
    increments: Array
    noise: Array
    densities: Densities


def journeys(keys: Key, model, x: Array, log_weights: Array, times: Array, lengths: Array) -> Journey:
    """G groups of M particles of the weighted flow, each along its own times, through one compiled step.

    Args:
        keys: One for each group, as the run's is for `run_smc`, (G,).
        model: A deterministic `Corrector` under a fixed control, or none.
        x: (G, M, *shape).
        log_weights: (G, M).
        times: In either direction, (G, K + 1).
        lengths: How many of its steps each group takes, (G,).

    Gradients: none; everything is stopped.
    """
    model, x, log_weights, times = stopped((model, x, log_weights, times))

    def group(job):
        key, x, log_weights, times, length = job

        def step(number, so_far):
            t0, t1 = times[number], times[number + 1]
            key_move = stream(jax.random.fold_in(key, number + 1), Use.MOVE)
            weights = log_weights + so_far.increments - 0.5 * so_far.noise
            moved = STEPS[model.step](model, key_move, so_far.x, weights, t0, t1)
            gained = Journey(moved.x, moved.increments + model.growth(t0, t1), moved.noise, moved.densities)
            return jax.tree.map(jnp.add, so_far, gained)._replace(x=moved.x)

        zero, none = jnp.zeros_like(log_weights), jnp.zeros((x.shape[0], len(model.target.factors)), x.dtype)
        return jax.lax.fori_loop(0, length, step, Journey(x, zero, zero, Densities(none, none)))

    return jax.lax.map(group, (keys, x, log_weights, times, lengths))


def stopped(tree):
    """The tree without derivatives."""
    arrays, rest = eqx.partition(tree, eqx.is_inexact_array)
    return eqx.combine(jax.lax.stop_gradient(arrays), rest)


def pulled_back(key: Key, model, grid: Array, points: Array) -> tuple[Array, Array]:
    """Where the weighted flow would have had to start to reach `points`, and ℓ, constants included, (M,).

    Args:
        key: For probes.
        model: A deterministic `Corrector` under a fixed control, or none.
        grid: The times of the run, (K + 1,).
        points: At its last time, (M, *shape).
    """
    equal = jnp.zeros(points.shape[0], points.dtype)

    def back(x, interval):
        number, t1, t0 = interval
        moved = STEPS[model.step](model, jax.random.fold_in(key, number), x, equal, t1, t0)
        return moved.x, model.growth(t0, t1) - moved.increments - 0.5 * moved.noise

    steps = jnp.arange(grid.shape[0] - 1)
    starts, gathered = jax.lax.scan(back, points, (steps, grid[:0:-1], grid[-2::-1]))
    first = chunked_vmap(lambda x: model.start_weight(x, grid[0]), model.chunk)(starts)
    return starts, first + model.start_constant(grid[0]) + jnp.sum(gathered, axis=0)


class Draws(NamedTuple):
    """Plain draws of every model, one after the other.

    Attributes:
        x: At the last time, (M, *shape).
        carried: log q_i, (M, F).
        noise: Its variance by probes, (M, F).
    """

    x: Array
    carried: Array
    noise: Array


def draws(key: Key, model, grid: Array, num: tuple[int, ...]) -> Draws:
    """num[i] draws of model i, each with its log-density under every model.

    A density that is not known in closed form is that of the flow: forward for the model that a point is drawn from,
    backwards to its start for the others.

    Cost: one flow of every point for each model; a single forward one where densities are known.
    """
    target, count, known = model.target, len(model.target.factors), model.target.normalized
    t = grid[0]
    found = []
    for i, many in enumerate(num):
        key_start, key_flow = jax.random.split(jax.random.fold_in(stream(key, Use.MODEL), i))
        path = target.paths[i]
        spread = jnp.sqrt(path.alpha(t) ** 2 * target.reference.variance + path.sigma(t) ** 2)
        xi = jax.vmap(lambda k: jax.random.normal(k, target.shape, grid.dtype))(particle_keys(key_start, many))
        mean = jnp.broadcast_to(target.reference.mean, target.shape)[None]
        start = path.alpha(t) * mean + spread * xi
        moved = flow(key_flow, model, i, start, grid, not known)
        carried = jnp.zeros((many, count), grid.dtype).at[:, i].set(start_densities(target, start, t)[:, i])
        carried = carried.at[:, i].add(moved.growth)
        noise = jnp.zeros((many, count), grid.dtype).at[:, i].set(moved.noise)
        for j in range(count) if not known else ():
            if j == i:
                continue
            back = flow(key_flow, model, j, moved.x, grid[::-1], True)
            carried = carried.at[:, j].set(start_densities(target, back.x, t)[:, j] - back.growth)
            noise = noise.at[:, j].set(back.noise)
        found.append(Draws(moved.x, carried, noise))
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *found)
