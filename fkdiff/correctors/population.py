"""A weighted SDE as a model: what `run_smc` runs."""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import (
    Array,
    FkdiffWarning,
    Key,
    Status,
    choose,
    chunk_size,
    chunked_vmap,
    concrete,
    number,
    particle_keys,
    require,
    traced,
    whole,
    worst,
)
from fkdiff.core.keys import Use, stream
from fkdiff.correctors import reference as gaussian
from fkdiff.correctors import safety
from fkdiff.correctors import tilts as tilting
from fkdiff.correctors.control import Schedule, living_shares, solve
from fkdiff.correctors.exponents import check_exponents, lowest_precision, shared
from fkdiff.correctors.rate import LADDER, Field, assemble, local
from fkdiff.correctors.refresh import langevin
from fkdiff.correctors.steps import STAGES, STEPS
from fkdiff.smc.model import SLACK, Model, MoveInfo, Pilot, on_time

if TYPE_CHECKING:
    from fkdiff.correctors.weighted_sde import WeightedSDE

EXACT_UP_TO = 4  # dimensions in which a full basis costs little more than one probe


class Corrector(Model):
    """A `WeightedSDE` with a time step, a noise level and a control, as a model.

    Attributes:
        target: What to sample.
        noise: ν in ε = νκ.
        step: "euler", "heun", "rk4" or "exponential".
        control: A rung of the ladder.
        exact: Whether divergences run over a full basis.
        gauge: "closed-form" or "published".
        deterministic: Whether ν is known to be 0.
        refresh_moves: Langevin moves after a resampling.
        chunk: Particles per model call.
        vetted: Whether the exponents were known, and found normalisable, when this was built.
        carries: Whether moves report increments of log q_i, for `partition`.
        schedule: A control fixed in advance (see `freeze`); None fits one over the population at every stage.
    """

    target: WeightedSDE
    noise: Array
    step: str = eqx.field(static=True)
    control: str = eqx.field(static=True)
    exact: bool = eqx.field(static=True)
    gauge: str = eqx.field(static=True)
    deterministic: bool = eqx.field(static=True)
    refresh_moves: int = eqx.field(static=True)
    chunk: int | None = eqx.field(static=True)
    vetted: bool = eqx.field(static=True)
    carries: bool = eqx.field(static=True, default=False)
    schedule: Schedule | None = None

    @classmethod
    def build(cls, target, step, noise, control, divergence, gauge, refresh, chunk) -> Corrector:
        """Checks that the options can hold together; see `WeightedSDE.feynman_kac`."""
        choose("step", step, STEPS)
        choose("gauge", gauge, gaussian.GAUGES)
        control = _rung(control, bool(target.tilts))
        exact = choose("divergence", divergence, _DIVERGENCES)(math.prod(target.shape))
        noise = target.noise if noise is None else number("noise", noise, 0.0, action="ν ≥ 0 in ε = νκ")
        level = concrete(noise)
        deterministic = level is not None and bool(level == 0)
        require(
            step != "rk4" or deterministic,
            'step="rk4" is a step of the deterministic flow and noise is not 0; use step="exponential" or "heun".',
        )
        refresh = whole("refresh", refresh, 0, "the Langevin moves after a resampling")
        chunk = chunk_size(chunk)
        one_path = shared(target.paths)
        require(
            one_path or (step != "exponential" and gauge == "closed-form"),
            f'step="{step}" with gauge="{gauge}" needs one path shared by all models, and these live on different '
            'ones; use step="heun" with the closed-form gauge.',
        )
        check_exponents(target)
        vetted = not traced(target)
        if gauge == "published" and control == "none":
            _warn_heavy_tails(target, level)
        moves = refresh if deterministic else 0
        return cls(target, noise, step, control, exact, gauge, deterministic, moves, chunk, vetted)

    @property
    def time_range(self) -> tuple[Array, Array]:
        """[t_min, t_max] that a grid must keep to: the intersection over all paths."""
        return self.target.time_range

    def progress(self, t: Array) -> Array:
        """That of the target."""
        return self.target.progress(t)

    @property
    def independent(self) -> bool:
        """Whether no control is fitted to the population."""
        return self.control == "none" or self.schedule is not None

    @property
    def transportable(self) -> bool:
        """A particle is a position and nothing else."""
        return True

    def chunked(self, chunk: int | None) -> Corrector:
        return dataclasses.replace(self, chunk=chunk)

    @property
    def fixed_start(self) -> bool:
        """Whether a grid must begin at t_min: without densities the start is known only where noise dominates."""
        return not self.target.normalized

    def _phase(self, t: Array) -> gaussian.Phase:
        return gaussian.phase(self.target.reference, tuple(self.target.betas), self.target.paths, t)

    def standardisation(self, t: Array) -> tuple[Array, Array]:
        """√v and αm of one model at t, the latter with a particle axis: x = αm + √v y."""
        alpha, sigma, law = self.target.path.alpha(t), self.target.path.sigma(t), self.target.reference
        shift = jnp.broadcast_to(alpha * law.mean, self.target.shape)
        return jnp.sqrt(alpha**2 * law.variance + sigma**2), shift[None]

    def initial(self, key: Key, num_particles: int, t: Array) -> tuple[Array, Array, MoveInfo]:
        """Draws from N(M, V I), with the exact weight where the densities at t are known."""
        target, phase = self.target, self._phase(t)

        def one(particle_key):
            xi = jax.random.normal(particle_key, target.shape, phase.log_variance.dtype)
            x = phase.mean + jnp.exp(0.5 * phase.log_variance) * xi
            return x, self.start_weight(x, t)

        x, log_weights = chunked_vmap(one, self.chunk)(particle_keys(key, num_particles))
        on_clean = sum(tilt.on == "clean" for tilt in target.tilts)
        evaluations = len(target.factors) if target.normalized else on_clean * len(target.factors)
        return (
            x,
            log_weights,
            MoveInfo(log_constant=self.start_constant(t), evaluations=evaluations, status=self._start_status(t)),
        )

    def start_constant(self, t: Array) -> Array:
        """log of ∫ Π q_i^{β_i} at t for the reference Gaussians: the part of log Z that no particle sees."""
        target = self.target
        size = math.prod(target.shape)
        return gaussian.log_start(target.reference, tuple(target.betas), target.paths, t, size)

    def start_weight(self, x: Array, t: Array) -> Array:
        """log p̃_t − log N(M, V I) − constant at one point where the densities are known; else r_t."""
        target, phase = self.target, self._phase(t)
        if not target.normalized:
            return tilting.value(target, x, t)
        offset = (x - phase.mean) * jnp.exp(-0.5 * phase.log_variance)
        log_start = -0.5 * (jnp.sum(offset**2) + x.size * (gaussian.LOG_2PI + phase.log_variance))
        return target.log_density(x, t) - log_start - self.start_constant(t)

    def growth(self, t0: Array, t1: Array) -> Array:
        """∫ h d dt over [t0, t1]: the d-terms of g."""
        target = self.target
        size = math.prod(target.shape)
        return gaussian.log_growth(self.gauge, target.reference, tuple(target.betas), target.paths, t0, t1, size)

    def fields(self, key: Key, x: Array, log_weights: Array, t: Array) -> Field:
        """The flow at every particle: `Field` with a leading axis N."""
        target, betas = self.target, tuple(self.target.betas)
        gauge = gaussian.GAUGES[self.gauge](target.reference, betas, target.paths, t)
        centre = self.centre(x, log_weights) if self.schedule is None else self.schedule.at(t)[1]

        def one(particle, particle_key):
            here = local(target, particle, t, particle_key, self.control, self.exact)
            return assemble(target, here, gauge, particle, centre, self.control)

        return chunked_vmap(one, self.chunk)(x, particle_keys(key, x.shape[0]))

    def centre(self, x: Array, log_weights: Array) -> Array:
        """The population's weighted mean, a direction of the affine control."""
        weights = living_shares(log_weights)
        # A dead particle may sit at infinity, and 0 · inf is NaN.
        alive = (weights > 0).reshape(-1, *(1,) * (x.ndim - 1))
        return jnp.tensordot(weights, jnp.where(alive, x, 0.0), axes=1)

    def move(self, key: Key, particles: Array, log_weights: Array, t0: Array, t1: Array):
        """One controlled step from t0 to t1."""
        moved = STEPS[self.step](self, key, particles, log_weights, t0, t1)
        evaluations, jvps = self.stage_cost()
        stages = STAGES[self.step]
        report = moved.densities if self.carries else None
        cost = stages * evaluations, stages * jvps
        info = MoveInfo(self.growth(t0, t1), moved.residual, *cost, self._status(t1), report)
        # E e^{noise} is e^{½ variance}: without it every weight would be too large on average.
        return moved.x, moved.increments - 0.5 * moved.noise, info

    def safe_run(self, key, grid, num_particles, resample, collect, on_nan, checkpoint):
        """The run whose control comes from a pilot, beside plain draws and a run of half the steps; see `safety`."""
        if not safety.measurable(self, grid, num_particles):
            return None
        return safety.run(self, key, grid, num_particles, resample, collect, on_nan, checkpoint)

    def refresh(self, key: Key, particles: Array, t: Array) -> Array:
        """Langevin moves that leave p̃_t invariant; none when the noise separates duplicates by itself."""
        if not self.refresh_moves:
            return particles
        phase, sigma = self._phase(t), self.target.path.sigma(t)
        wide = jnp.exp(phase.log_variance)
        narrow = jnp.minimum(wide, sigma**2 / jnp.sum(self.target.betas))
        variances = jnp.stack([wide if i % 2 == 0 else narrow for i in range(self.refresh_moves)])

        def one(particle, particle_key):
            return langevin(self.target, particle_key, particle, phase.mean, variances, t)

        return chunked_vmap(one, self.chunk)(particles, particle_keys(stream(key, Use.REFRESH), particles.shape[0]))

    @property
    def refresh_cost(self) -> tuple[int, int]:
        """(evaluations, jvps) per particle of one refresh."""
        on_clean = sum(tilt.on == "clean" for tilt in self.target.tilts)
        visits = self.refresh_moves + 1 if self.refresh_moves else 0
        return visits * len(self.target.factors) * (1 + on_clean), visits * on_clean * len(self.target.factors)

    def estimate(self, key: Key, particles: Array, t: Array, num: int) -> Array:
        """The target's clean estimate, or draws around it with the variance that reference data leave at its power."""
        target = self.target

        def one(particle_key, x):
            clean = tilting.clean_estimate(target.factors, x, t)
            if num == 0:
                return clean
            noise = jax.random.normal(particle_key, (num, *x.shape), x.dtype)
            return clean[None] + jnp.sqrt(target.posterior_variance(t)) * noise

        return chunked_vmap(one, self.chunk)(particle_keys(key, particles.shape[0]), particles)

    @property
    def estimate_cost(self) -> tuple[int, int]:
        return len(self.target.factors), 0

    def record(self, key: Key, particles: Array, log_weights: Array, t: Array) -> tuple[Array, Array] | None:
        """θ and the centre of its affine columns, as the population asks for them. Cost: one stage."""
        if self.control == "none":
            return None
        free = dataclasses.replace(self, schedule=None)
        field = free.fields(key, particles, log_weights, t)
        return solve(field.rate, field.columns, log_weights, field.noise).theta, free.centre(particles, log_weights)

    def frozen(self, pilot: Pilot) -> Corrector:
        """The control of the pilot, as a function of time."""
        if self.control == "none":
            return self
        return dataclasses.replace(self, schedule=Schedule(pilot.times, *pilot.records))

    def stage_cost(self) -> tuple[int, int]:
        """Model calls and Jacobian products of one stage: divergences by jvp, clean rewards by one reverse pass.

        The curvature of a clean reward is a jvp of that reverse pass, and counts as two more products.
        """
        factors = len(self.target.factors)
        directions = math.prod(self.target.shape) if self.exact else 1
        jvps = factors * directions if self.control.startswith("score") else 0
        on_clean = sum(tilt.on == "clean" for tilt in self.target.tilts)
        curved = 2 * directions if self.control == "score+reward" else 0
        return factors * (1 + on_clean), jvps + on_clean * factors * (1 + curved)

    def _start_status(self, t: Array) -> Array:
        """What `build` and `run_smc` refuse when exponents and times are known, for those that are traced."""
        first, _ = self.time_range
        late = self.fixed_start & (t > first + SLACK)
        status = worst(self._status(t), jnp.where(late, jnp.int32(Status.BAD_GRID), jnp.int32(Status.OK)))
        if self.vetted:
            return status
        fine = lowest_precision(self.target) > 0
        return worst(status, jnp.where(fine, jnp.int32(Status.OK), jnp.int32(Status.NOT_NORMALISABLE)))

    def _status(self, t: Array) -> Array:
        phase = self._phase(t)
        fine = jnp.isfinite(phase.log_variance) & (jnp.sum(self.target.betas) > 0)
        exponents = jnp.where(fine, jnp.int32(Status.OK), jnp.int32(Status.NOT_NORMALISABLE))
        return worst(exponents, on_time(self.time_range, t))


_DIVERGENCES = {
    "auto": lambda size: size <= EXACT_UP_TO,
    "exact": lambda size: True,
    "probe": lambda size: False,
}


def _rung(control: bool | str, tilted: bool) -> str:
    if control is True:
        return "score+reward" if tilted else "score"
    if control is False:
        return "none"
    choose("control", control, dict.fromkeys(LADDER))
    return control


def _warn_heavy_tails(target: WeightedSDE, level) -> None:
    total = concrete(jnp.sum(target.betas))
    if total is None or level is None or float(total) <= 1:
        return
    need = 2 * (float(total) - 1) / float(total)
    if not float(level) > need:
        sentence = (
            f"noise={float(level):g} without gauge or control has weights of infinite variance over long horizons at "
            f"B = {float(total):g}: take noise > {need:.3g}, or the closed-form gauge; see SYMPTOMS.md#heavy-tails."
        )
        warnings.warn(sentence, FkdiffWarning, stacklevel=4)
