"""The runs beside a run, which measure what it cannot see; `run_smc(..., safety=False)` leaves them out.

- A pilot of N/8 particles fits the control, which is fixed from then on: particles become independent, and Ẑ unbiased.
- M = N/8 draws of the models themselves join the other N − M particles in the partition estimate (see `partition`),
  which fills in the modes that control starves.
- A run of N/8 particles from the same starts in half the steps says how much the answer owes to the steps.

With Heun steps they cost about a third as much again as the run alone. Without resampling, particles are independent
and know the density that they were drawn from. So the population is resampled as a last resort only, when its ESS falls
below a tenth of N: then the draws cannot join it, and only say what share of the target it cannot have filled.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, Status, chunked_vmap, concrete, take, worst
from fkdiff.core.keys import Use, stream
from fkdiff.correctors import partition
from fkdiff.correctors.steps import STAGES, Densities
from fkdiff.smc import engine
from fkdiff.smc.drivers.pilot import pilot_run
from fkdiff.smc.drivers.run import unchecked
from fkdiff.smc.model import SLACK
from fkdiff.smc.resamplers import adaptive, systematic
from fkdiff.smc.results.pair import Pair
from fkdiff.smc.results.result import SMCResult
from fkdiff.smc.results.tails import tail_index
from fkdiff.smc.weights import ess, log_mean_exp, normalized

SHARE = 8  # the runs beside have N/8 particles
LEAST = 64  # particles below which nothing can be measured beside a run
# Dimensions up to which this is better than a run alone. On learned digits (64 dimensions) the control of a small pilot
# leaves weights that collapse before the last resort.
WIDEST = 16
LAST_RESORT = 0.1  # of N: the ESS below which independent particles are worth less than resampled ones
MISSED, LUCK = 0.05, 3.0  # where fewer than three particles are expected, a twentieth of the target may hold none
ORDERS = {"euler": 1, "heun": 2, "rk4": 2}  # of the error in the step, as far as it is trusted


class Particles(NamedTuple):
    """Independent particles at the last time.

    Attributes:
        x: (n, *shape).
        excess: ℓ, constants included, (n,).
        log_ratios: log p̃/q_i, (n, F).
    """

    x: Array
    excess: Array
    log_ratios: Array


def measurable(model, grid: Array, num_particles: int) -> bool:
    """Whether the runs beside can be made.

    They need enough particles and steps, few dimensions, a flow, models whose densities are known or carried along, and
    a grid from the start, where plain draws begin.
    """
    known = model.target.normalized or model.control.startswith("score")
    enough = num_particles >= LEAST and grid.shape[0] > 4 and math.prod(model.target.shape) <= WIDEST
    return model.deterministic and known and enough and not (concrete(_late(model, grid)) or False)


def _late(model, grid: Array) -> Array:
    """Whether the grid begins after the start."""
    return grid[0] > model.time_range[0] + SLACK


def run(model, key: Key, grid: Array, num_particles: int, resample, collect, on_nan: str, checkpoint) -> SMCResult:
    """The safe run of a corrector for which one is `measurable`; arguments as in `run_smc`."""
    many = num_particles // SHARE
    count, factors = num_particles - many, len(model.target.factors)
    num = tuple(many // factors + (i < many % factors) for i in range(factors))
    key_pilot, key_draws, key_back = jax.random.split(stream(key, Use.PROBE), 3)
    model, pilot = _controlled(key_pilot, model, grid, many)

    rule = resample or adaptive(systematic, LAST_RESORT)
    out = unchecked(key, model, grid, count, rule, collect, on_nan, checkpoint)
    alone = (out.info.resamplings == 0) & ~_late(model, grid)
    first = engine.init(key, model, count, grid[0])  # where the run began, which its result does not hold
    particles = _arrived(model, grid, first.particles, out)
    drawn = partition.draws(key_draws, model, grid, num)
    ratios = partition.log_ratios(model.target, drawn, grid[-1], model.chunk)
    fine, coarse, excess = _beside(key, key_back, model, grid, first, take(particles, jnp.arange(many)), drawn, alone)

    mixture = Mixture(count, jnp.asarray(num, grid.dtype), alone)
    log_draws = mixture.of_draws(excess, ratios, num)
    log_weights = jnp.concatenate([mixture.of_particles(particles), log_draws])
    log_normalizer = jax.nn.logsumexp(log_weights)
    pair, step_error = _paired(model, mixture, fine, coarse, log_draws)
    missing, tail = _unseen(excess - log_normalizer, ratios, mixture)
    missing = jnp.where(_late(model, grid), jnp.nan, missing)  # the draws are then of nothing
    evaluations, jvps = _cost(model, out.info, pilot, num, grid.shape[0] - 1, num_particles)
    info = dataclasses.replace(
        out.info,
        ess=out.info.ess.at[-1].set(ess(log_weights)),
        ancestors=jnp.concatenate([out.info.ancestors, jnp.arange(count, num_particles, dtype=jnp.int32)]),
        status=worst(out.info.status, pilot.status),
        evaluations=evaluations,
        jvps=jvps,
        step_error=step_error,
        missing=missing,
        tail=tail,
        report=None,
    )
    x = jnp.concatenate([particles.x, drawn.x])
    log_weights = log_weights + math.log(num_particles)
    return SMCResult(x, log_weights, log_normalizer, info, out.collected, out.scheme, pair, (count, *num))


class Mixture(NamedTuple):
    """Which proposals share the target.

    Attributes:
        count: n, particles of the flow.
        sizes: m_i, draws of each model, (F,).
        alone: Whether the particles were never resampled, so that the draws may join them.
    """

    count: int
    sizes: Array
    alone: Array

    def of_particles(self, some: Particles) -> Array:
        """log w of particles of the flow, or log e^ℓ/n where no draw joins them.

        The share of a proposal in the mixture is a weight that sums to one over proposals, whatever its derivative
        is: it is stopped, and the derivative of Ẑ is that of e^ℓ.
        """
        own = some.excess - math.log(self.count)
        joined = partition.balanced(some.excess, some.log_ratios, self.count, self.sizes)
        joined = jnp.where(some.excess == -jnp.inf, -jnp.inf, joined)
        return own + jax.lax.stop_gradient(jnp.where(self.alone & jnp.isfinite(own), joined - own, 0.0))

    def of_draws(self, excess: Array, log_ratios: Array, num: tuple[int, ...]) -> Array:
        """log w of draws of the models, num[i] of model i in their order; −∞ where they may not join."""
        mine = jnp.repeat(jnp.arange(len(num)), jnp.asarray(num), total_repeat_length=sum(num))
        own = jnp.take_along_axis(log_ratios, mine[:, None], axis=1)[:, 0] - jnp.log(self.sizes[mine])
        joined = partition.balanced(excess, log_ratios, self.count, self.sizes)
        joined = own + jax.lax.stop_gradient(jnp.where(jnp.isfinite(own), joined - own, 0.0))
        return jnp.where(self.alone, joined, -jnp.inf)


class _Pilot(NamedTuple):
    """What the pilot cost per particle, and how it fared."""

    evaluations: Array | int = 0
    jvps: Array | int = 0
    status: Array | int = Status.OK


def _controlled(key: Key, model, grid: Array, num_particles: int):
    """The model under the control of a pilot, told to carry densities where they are not known, and the pilot."""
    found = _Pilot()
    if model.control != "none" and model.schedule is None:
        still, times = partition.stopped((model, grid))
        pilot, info = pilot_run(key, still, times, num_particles, adaptive(systematic, 0.5))
        model = model.frozen(pilot)
        evaluations, jvps = model.stage_cost()
        looks = grid.shape[0]  # at the population at every time, beside the run
        found = _Pilot(info.evaluations + looks * evaluations, info.jvps + looks * jvps, info.status)
    return dataclasses.replace(model, carries=not model.target.normalized), found


def _arrived(model, grid: Array, starts: Array, out: SMCResult) -> Particles:
    """The particles of a run that was never resampled, with what they know of the densities at their end."""
    excess = out.log_weights + out.log_normalizer - log_mean_exp(out.log_weights)
    none = jnp.zeros((excess.shape[0], len(model.target.factors)), excess.dtype)
    gained = Densities(none, none)
    if model.carries:
        gained = jax.tree.map(lambda steps: jnp.sum(steps, axis=0), out.info.report)
    return _known(model, grid, starts, out.particles, excess, gained)


def _known(model, grid: Array, starts: Array, x: Array, excess: Array, gained: Densities) -> Particles:
    """Particles of the flow with their density ratios."""
    carried = partition.start_densities(model.target, starts, grid[0]) + gained.value
    some = partition.Draws(x, carried, gained.noise)
    return Particles(x, excess, partition.log_ratios(model.target, some, grid[-1], model.chunk))


def _beside(key: Key, key_back: Key, model, grid: Array, first, own: Particles, drawn: partition.Draws, alone: Array):
    """M particles from the run's own starts in all steps and in half of them, and ℓ of the draws by going back.

    The first are those of the run itself where it was never resampled, and go along `grid` once more otherwise.
    """
    many, steps = drawn.x.shape[0], grid.shape[0] - 1
    starts, weights = first.particles[:many], first.log_weights[:many]
    half = jnp.concatenate([grid[:-1:2], grid[-1:]])
    times = jnp.stack([grid, jnp.pad(half, (0, grid.shape[0] - half.shape[0]), mode="edge"), grid[::-1]])
    lengths = jnp.stack([jnp.where(alone, 0, steps), jnp.int32(half.shape[0] - 1), jnp.int32(steps)])
    went = partition.journeys(
        jnp.stack([key, key, key_back]),
        model,
        jnp.stack([starts, starts, drawn.x]),
        jnp.stack([weights, weights, jnp.zeros_like(weights)]),
        times,
        lengths,
    )
    again, coarse = (
        _known(
            model, grid, starts, went.x[g], first.log_normalizer + weights + went.increments[g] - 0.5 * went.noise[g],
            jax.tree.map(lambda leaf, g=g: leaf[g], went.densities),
        )
        for g in (0, 1)
    )  # fmt: skip
    fine = jax.tree.map(lambda a, b: jnp.where(alone, a, b), own, again)
    back = chunked_vmap(lambda x: model.start_weight(x, grid[0]), model.chunk)(went.x[2])
    excess = back + model.start_constant(grid[0]) - went.increments[2] - 0.5 * went.noise[2]
    return fine, coarse, excess


def _paired(model, mixture: Mixture, fine: Particles, coarse: Particles, log_draws: Array) -> tuple[Pair, Array]:
    """The pair, and the error that steps leave in log Ẑ. Its particles stand for all; both have the same draws."""
    weights = [mixture.of_particles(some) for some in (fine, coarse)]
    share = math.log(mixture.count / fine.excess.shape[0])
    totals = [jnp.logaddexp(jax.nn.logsumexp(w) + share, jax.nn.logsumexp(log_draws)) for w in weights]
    trust = 1 / (2 ** ORDERS[model.step] - 1)
    held = jnp.exp(jax.nn.logsumexp(weights[0]) + share - totals[0]) * trust
    return Pair(fine.x, weights[0], coarse.x, weights[1], held), jnp.abs(totals[0] - totals[1]) * trust


def _unseen(excess: Array, ratios: Array, mixture: Mixture) -> tuple[Array, Array]:
    """The share of the target where the flow should have had too few particles, and the tail index of p̃/q."""
    log_shares = jnp.log(mixture.sizes / jnp.sum(mixture.sizes))
    log_rho = -jax.nn.logsumexp(log_shares[None, :] - ratios, axis=1)
    rho = normalized(log_rho)
    limit = math.log(max(mixture.count * MISSED / LUCK, 1.0))
    return jnp.sum(jnp.where(excess <= limit, 0.0, rho)), tail_index(rho)


def _cost(model, info, pilot: _Pilot, num: tuple[int, ...], steps: int, num_particles: int):
    """Evaluations and jvps of all runs together, per particle of the result."""
    many, factors = sum(num), len(num)
    evaluations, jvps = model.stage_cost()
    beside = many / num_particles
    stages = STAGES[model.step] * (steps + (steps + 1) // 2)  # back in all steps, and forth in half of them
    flows = (1 if model.target.normalized else factors) * 2 * steps
    directions = 0 if model.target.normalized else math.prod(model.target.shape) if model.exact else 1
    pairs = (
        (info.evaluations, pilot.evaluations + stages * evaluations + flows),
        (info.jvps, pilot.jvps + stages * jvps + flows * directions),
    )
    real = jnp.float32  # whole numbers times N overflow
    totals = [(1 - beside) * jnp.asarray(own, real) + beside * jnp.asarray(more, real) for own, more in pairs]
    return tuple(jnp.ceil(total - 1e-3).astype(jnp.int32) for total in totals)
