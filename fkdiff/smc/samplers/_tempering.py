"""Sequential Monte Carlo samplers: from a law that can be drawn to one that cannot, by temperatures.

    γ_λ(x) = prior(x) likelihood(x)^λ,    λ from 0 to 1

One step of the engine resamples (if it will), moves every particle by a kernel that leaves γ_λ invariant, and weighs
it by (λ′ − λ) log likelihood: so moves follow the resampling at the temperature that the weights have just reached, and
the last population is weighted but never moved for nothing. Exact prior draws are not moved at λ = 0. A particle is the
state of its kernel, with every value and gradient: none is evaluated twice, neither by the weights nor after resampling
nor at another temperature.

References: Neal (2001); Chopin (2002); Del Moral, Doucet and Jasra (2006), section 3.3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import (
    Array,
    Kernel,
    Key,
    LogDensity,
    PyTree,
    Scalar,
    Status,
    chunk_size,
    chunked_vmap,
    expect,
    log_density,
    number,
    particle_keys,
    require,
    stream,
    whole,
    widened,
    worst,
)
from fkdiff.core.keys import Use
from fkdiff.smc.model import SLACK, Model, MoveInfo, Pilot, on_time
from fkdiff.smc.resamplers.waste_free import Blocks
from fkdiff.smc.samplers.moves import Frozen, Moved, Moves, fixed_moves
from fkdiff.smc.samplers.temperatures import next_temperature
from fkdiff.smc.samplers.tuning import Tuned


class Walker(NamedTuple):
    """One particle of a tempered population.

    Attributes:
        state: Of its kernel: position, values and gradients.
        temperature: λ, equal for all.
        step_size: Of a tuned kernel, equal for all.
    """

    state: Any
    temperature: Array
    step_size: Array


class TemperingReport(NamedTuple):
    """What one step did, in `out.info.report`, stacked over the steps.

    Attributes:
        temperature: λ after the step.
        acceptance: Mean acceptance probability of its moves; 1 without any.
        step_size: Of a tuned kernel after the step; 0 otherwise.
        moves: Kernel steps per particle.
        inverse_mass: Of a tuned kernel, over the flattened position; empty otherwise.
    """

    temperature: Array
    acceptance: Array
    step_size: Array
    moves: Array
    inverse_mass: Array


class Schedule(NamedTuple):
    """Temperatures fixed in advance.

    Attributes:
        times: Increasing, (M,).
        temperatures: λ at each, (M,).
    """

    times: Array
    temperatures: Array


class Tempered(Model):
    """See `tempering`.

    Attributes:
        density: log prior and log likelihood, as terms.
        draw: `draw(key) -> position` from the law at the first temperature.
        moves: How to move a population at one temperature.
        ess: Share of CESS to keep at each step; None where the temperatures are known.
        schedule: Temperatures at times; None where the grid holds the temperatures themselves.
        backwards: Whether the schedule runs from the target to the prior.
        chunk: Particles per call.
    """

    density: LogDensity
    draw: Callable[[Key], PyTree]
    moves: Moves
    ess: Array | None
    schedule: Schedule | None
    backwards: bool = eqx.field(static=True)
    chunk: int | None = eqx.field(static=True)

    @property
    def fixed_start(self) -> bool:
        """Exact draws exist at the first temperature only."""
        return True

    @property
    def time_range(self) -> tuple[Array, Array]:
        """Times are temperatures, or shares of the steps that an adaptive schedule may take."""
        return jnp.zeros(()), jnp.ones(())

    @property
    def independent(self) -> bool:
        """Whether nothing is chosen from the population."""
        return self.ess is None and not self.moves.tuned and self.moves.waste_free is None

    @property
    def default_potential(self) -> str:
        """Every move leaves its law invariant, so that a reward on the way only adds noise."""
        return "terminal"

    @property
    def resampler(self) -> Blocks | None:
        """Waste-free moves have their own."""
        return None if self.moves.waste_free is None else Blocks(self.moves.waste_free)

    def chunked(self, chunk: int | None) -> Tempered:
        return dataclasses.replace(self, chunk=chunk)

    def extract(self, particles: Walker, t: Array) -> PyTree:
        """The positions."""
        return particles.state.position

    def position(self, particles: Walker) -> PyTree:
        return particles.state.position

    def replaced(self, particles: Walker, positions: PyTree, t: Array) -> Walker:
        """Kernel states at other positions, whatever else they hold unchanged; one evaluation each."""
        evaluation = chunked_vmap(self.density.evaluate, self.chunk)(positions)
        return particles._replace(state=particles.state._replace(position=positions, evaluation=evaluation))

    def estimate(self, key: Key, particles: Walker, t: Array, num: int) -> PyTree:
        """Where a particle stands is the best estimate of where it ends; draws are copies of it."""
        positions = particles.state.position
        if num == 0:
            return positions
        return jax.tree.map(lambda leaf: jnp.repeat(leaf[:, None], num, axis=1), positions)

    def record(self, key: Key, particles: Walker, log_weights: Array, t: Array) -> Array:
        """The temperature."""
        return particles.temperature[0]

    def frozen(self, pilot: Pilot) -> Tempered:
        """Temperatures, step sizes, masses and numbers of moves as they were in the pilot."""
        move, report = self.moves.move, pilot.reports
        if self.ess is None and not self.moves.tuned:
            return self
        if self.moves.tuned:
            used = pilot.records[:-1]
            move = Frozen(move.make, used, report.step_size, report.inverse_mass, report.moves)
        moves = Moves(move, self.moves.num_moves, self.moves.waste_free)
        schedule = Schedule(pilot.times, pilot.records)
        return dataclasses.replace(self, moves=moves, ess=None, schedule=schedule)

    def at(self, temperature: Array) -> LogDensity:
        """log γ_λ, unnormalised."""
        return LogDensity(self.density.terms, (jnp.ones_like(temperature), temperature))

    def initial(self, key: Key, num_particles: int, t: Array) -> tuple[Walker, Array, MoveInfo]:
        """Exact draws with equal weights; one evaluation each."""
        self.moves.check_count(num_particles)
        draws = chunked_vmap(self.draw, self.chunk)(particle_keys(key, num_particles))
        temperature = self._first.astype(t.dtype)
        setting = self.moves.setting(draws, jnp.zeros(num_particles), self.moves.first_step)
        kernel = self._kernel(temperature, setting)
        keys = particle_keys(stream(key, Use.MOVE), num_particles)
        states = chunked_vmap(kernel.init, self.chunk)(keys, draws)
        require(
            isinstance(states, tuple) and {"position", "evaluation"} <= set(type(states).__annotations__),
            f"the kernel's state is a {type(states).__name__} without .position and .evaluation, which tempering "
            "carries from one temperature to the next; use a kernel of fkdiff.mcmc, or build the state by "
            "fkdiff.core.LogDensity.evaluate.",
        )
        ones = jnp.ones(num_particles, temperature.dtype)
        step = jnp.zeros(()) if setting is None else setting.step_size
        return Walker(states, ones * temperature, ones * step), self._none(states), MoveInfo(evaluations=1)

    def move(self, key: Key, particles: Walker, log_weights: Array, t0: Array, t1: Array):
        """Moves at the present temperature, then weighs up to the next."""
        now = particles.temperature[0]
        exact = now == self._first  # nothing to gain where the draws are exact, or where nothing is left to do
        still = exact if self._grid_is_schedule else exact | (now >= 1)
        moved = self._moved(stream(key, Use.MOVE), particles, log_weights, now, still)
        likelihoods = moved.states.evaluation.values[1].astype(log_weights.dtype)
        later = self._read(t1) if self.ess is None else next_temperature(log_weights, likelihoods, now, self.ess)
        step = (later - now).astype(log_weights.dtype)
        increments = jnp.where(step == 0, jnp.zeros_like(likelihoods), step * likelihoods)
        ones = jnp.ones_like(particles.temperature)
        walkers = Walker(moved.states, ones * later, ones * moved.step_size)
        stalled = (t1 >= 1 - SLACK) & (later < 1) if self.ess is not None else jnp.bool_(False)
        status = worst(on_time(self.time_range, t1), jnp.where(stalled, Status.STALLED, Status.OK))
        report = TemperingReport(later, moved.acceptance, moved.step_size, moved.moves, moved.inverse_mass)
        return walkers, increments, MoveInfo(evaluations=moved.evaluations, status=status, report=report)

    @property
    def _grid_is_schedule(self) -> bool:
        return self.ess is None and (self.schedule is None or self.backwards)

    @property
    def _first(self) -> Array:
        """The temperature of the exact draws. A grid may miss it by a rounding, which a vague prior would see."""
        return self._read(jnp.zeros(()))

    def _read(self, t: Array) -> Array:
        """The temperature that a time stands for."""
        t = 1 - t if self.backwards else t
        return t if self.schedule is None else jnp.interp(t, *self.schedule)

    def _kernel(self, temperature: Array, setting: Any) -> Kernel:
        kernel = self.moves.kernel(self.at(temperature), setting)
        expect("move(log_density)", kernel, Kernel, "return a fkdiff.Kernel, such as those of fkdiff.mcmc")
        return kernel

    def _moved(self, key: Key, particles: Walker, log_weights: Array, now: Array, still: Array) -> Moved:
        """The population after its moves at one temperature, or as it stands."""

        def go(states, step_size):
            setting = self.moves.setting(states.position, log_weights, step_size, now)
            return self.moves(key, lambda s: self._kernel(now, s), states, setting, self.chunk)

        def stay(states, step_size):
            shapes = jax.eval_shape(go, states, step_size)
            nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
            one = jnp.ones_like(nothing.acceptance)
            return nothing._replace(states=states, step_size=step_size, acceptance=one)

        return jax.lax.cond(still, stay, go, particles.state, particles.step_size[0])

    @staticmethod
    def _none(states: Any) -> Array:
        """Equal log-weights, in at least single precision."""
        return jnp.zeros_like(widened(states.evaluation.values[1]))


def tempering(
    log_prior: Callable[[PyTree], Array],
    log_likelihood: Callable[[PyTree], Array],
    sample_prior: Callable[[Key], PyTree],
    move: Callable[[LogDensity], Kernel] | Tuned,
    num_moves: int = 1,
    ess: Scalar | None = None,
    waste_free: int | None = None,
    chunk: int | None = None,
) -> Tempered:
    """γ_λ ∝ prior · likelihood^λ from λ = 0 to 1, as a model for `fkdiff.run_smc` on times in [0, 1].

        model = fkdiff.smc.tempering(log_prior, log_likelihood, sample_prior, lambda f: fkdiff.mcmc.mala(f, 0.1))
        out = fkdiff.run_smc(key, model, jnp.linspace(0.0, 1.0, 33), num_particles=4096)

    Without `ess` the times are the temperatures, and Ẑ is unbiased. With it they only count: the temperatures are
    chosen from the population, at most as many as the grid has steps (status STALLED if λ = 1 is not reached), those
    left over cost nothing, and log Ẑ has a bias of order 1/N; `fkdiff.smc.freeze` turns one such run into a fixed
    schedule. `out.info.report` holds temperatures, acceptances, step sizes and numbers of moves.
    Annealed importance sampling is `resample=fkdiff.smc.adaptive(fkdiff.smc.systematic, 0.0)`.

    Args:
        log_prior: log prior of ONE position, any pytree of real arrays. log Ẑ is that of ∫ prior · likelihood where it
            is normalised, else of the ratio of both integrals.
        log_likelihood: log likelihood, in nats; −inf forbids.
        sample_prior: `sample_prior(key) -> position`, exactly the prior's law.
        move: `move(log_density) -> Kernel`, which leaves that density invariant (an unadjusted kernel leaves an error
            of its step); or `fkdiff.smc.tuned(...)`, which adapts step size, mass and number of moves.
        num_moves: Kernel steps at each temperature; a tuned move has its own.
        ess: Share in (0, 1) of the conditional effective sample size to keep in each step, such as 0.7.
        waste_free: P: resample N/P particles and keep all P − 1 steps of each, in place of resampling N and keeping
            the last of `num_moves`. Cheap diversity on one mode; several modes are told apart by N/P particles only.
        chunk: Particles per call.

    Returns:
        `Tempered`.

    Raises:
        FkdiffError: An argument is wrong; inside a run, a log-density that is no scalar, a kernel whose state lacks
            `.position` or `.evaluation`, or N not a multiple of `waste_free`.

    Cost: one evaluation with its gradient per particle at the start, then those of the kernel's steps.

    Gradients: those of the kernel; adjusted ones refuse. Use `fkdiff.gradients.log_normalizer`.

    References: Neal (2001); Del Moral, Doucet and Jasra (2006); Dau and Chopin (2022) for `waste_free`.
    """
    for name, given in (("log_prior", log_prior), ("log_likelihood", log_likelihood), ("sample_prior", sample_prior)):
        require(callable(given), f"{name}={given!r} is not a function.")
    require(
        (callable(move) or isinstance(move, Tuned)) and not isinstance(move, Kernel),
        f"move is a {type(move).__name__}; pass a function of the log-density, such as "
        "lambda f: fkdiff.mcmc.mala(f, 0.1), since the density changes with the temperature.",
    )
    num_moves = whole("num_moves", num_moves, 1, "kernel steps at each temperature")
    if waste_free is not None:
        waste_free = whole("waste_free", waste_free, 2, "the positions kept of every chain, the start included")
    share = None if ess is None else number("ess", ess, 1e-3, 0.9999, "a share of the particles, strictly in (0, 1)")
    moves = fixed_moves(move, num_moves, waste_free)
    density = log_density(log_prior, log_likelihood)
    return Tempered(density, sample_prior, moves, share, None, False, chunk_size(chunk))
