"""`chain`: the steps of a stochastic solver as a model, plain or guided."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, PyTree, Scalar, chunk_size, chunked_vmap
from fkdiff.core.keys import Use, stream
from fkdiff.prediction import Predictor
from fkdiff.smc import OneParticle
from fkdiff.solvers import Solver, State, ancestral
from fkdiff.solvers.base import check_model, check_score, check_stochastic
from fkdiff.solvers.reference import as_reference
from fkdiff.steering.guidance import Guidance, Guided, Unguided


class Chain(OneParticle):
    """See `chain`; for ONE particle.

    Attributes:
        pred: The model.
        solver: Its stochastic solver.
        guidance: How steps are shifted.
        reference: Mean and variance of the data.
        chunk: Particles per model call.
    """

    pred: Predictor
    solver: Solver
    guidance: Guidance
    reference: tuple[Array, Array]
    chunk: int | None = eqx.field(static=True, default=None, kw_only=True)

    @property
    def time_range(self) -> tuple[Array, Array]:
        """Its first particles are noise at t_min."""
        return self.pred.path.t_min, self.pred.path.t_max

    @property
    def cost(self) -> tuple[int, int]:
        return self.solver.evaluations, self.guidance.jvps + self.solver.jvps(self.pred.shape)

    def start(self, key: Key) -> Array:
        """A position of the reference at t_min."""
        path, (mean, variance) = self.pred.path, self.reference
        t = path.t_min
        spread = path.alpha(t) ** 2 * variance + path.sigma(t) ** 2
        noise = jax.random.normal(stream(key, Use.NOISE), self.pred.shape, t.dtype)
        return path.alpha(t) * mean + jnp.sqrt(spread) * noise

    def arrive(self, x: Array, t: Array, memory: PyTree, key: Key | None) -> State:
        """The solver's state at a position; without a key it looks through the probe that memory holds."""
        return self.solver.arrive(self.pred, x, t, memory, key)

    def draw(self, key: Key) -> tuple[Guided, Array]:
        """The start, looked at."""
        t = self.pred.path.t_min
        x, log_ratio = self.guidance.start(key, self)
        state, value, hint = self.guidance.look(key, self, x, t, self.solver.memory(x))
        particle = Guided(state, value, hint, self.guidance.first_share(x.dtype), log_ratio)
        return particle, self._ratio(particle)

    def propose(self, key: Key, particle: Guided, t0: Array, t1: Array) -> Guided:
        """One step, and a look at where it led."""
        transition, moved = self.solver.step(self.pred, particle.state, t0, t1)
        x, log_ratio = self.guidance.step(key, self, particle, transition, t0, t1)
        state, value, hint = self.guidance.look(key, self, x, t1, moved.memory)
        return Guided(state, value, hint, particle.share, log_ratio)

    def log_potential(self, previous: Guided, particle: Guided, t0: Array, t1: Array) -> Array:
        """log M − log M̃."""
        return self._ratio(particle)

    def _ratio(self, particle: Guided) -> Array:
        return particle.log_ratio if self._guided else jnp.zeros((), particle.state.x.dtype)

    @property
    def _guided(self) -> bool:
        return not isinstance(self.guidance, Unguided)

    def shown(self, particle: Guided) -> Array:
        """The position."""
        return particle.state.x

    def estimated(self, key: Key, particle: Guided, t: Array, num: int) -> Array:
        """The model's clean estimate, or draws around it with the variance that reference data leave."""
        return self.ends(key, particle.state, t, num)

    def ends(self, key: Key, state: Any, t: Array, num: int) -> Array:
        """`estimated`, from a solver's state."""
        if num == 0:
            return state.prediction.clean
        path, variance = self.pred.path, self.reference[1]
        alpha, sigma = path.alpha(t), path.sigma(t)
        spread = jnp.sqrt(variance * sigma**2 / (alpha**2 * variance + sigma**2))
        noise = jax.random.normal(stream(key, Use.PROBE), (num, *state.x.shape), state.x.dtype)
        return state.prediction.clean[None] + spread * noise

    def value(self, particles: Guided, t: Array, last: bool) -> Array:
        """log ψ as the guidance saw it; at the end the value itself."""
        if not self._guided:
            return super().value(particles, t, last)
        if last:
            return chunked_vmap(lambda x: self.guidance.settled(self, x), self.chunk)(particles.state.x)
        return particles.value

    def aimed(self, particles: Guided, share: Array) -> Guided:
        return particles._replace(share=self.guidance.told(particles.share, share))

    def position(self, particles: Guided) -> Array:
        return particles.state.x

    def replaced(self, particles: Guided, positions: Array, t: Array) -> Guided:
        """Another look at every particle, through the probe that it has: one evaluation each; ratio and share stay."""

        def one(particle: Guided, x: Array) -> Guided:
            state, value, hint = self.guidance.look(None, self, x, t, particle.state.memory)
            return particle._replace(state=state, value=value, hint=hint)

        return chunked_vmap(one, self.chunk)(particles, positions)


def chain(
    pred: Predictor,
    solver: Solver | None = None,
    guidance: Guidance | None = None,
    *,
    reference: tuple[Scalar, Scalar] = (0.0, 1.0),
    chunk: int | None = None,
) -> Chain:
    """The law that a stochastic solver samples, step by step: a model for every combinator and driver.

        model = fkdiff.smc.rewarded(fkdiff.steering.chain(pred), reward)

    Args:
        pred: The model.
        solver: A stochastic solver (`ancestral()`, `ddim(eta=1)`, `euler(noise=1)`, `exponential()`): under a
            deterministic one copies made by resampling would never separate. None: `ancestral(reference=reference)`.
        guidance: Shifts the steps, with exact ratios in the weights; `fkdiff.steer(proposal="twisted")` and
            `fkdiff.inverse` make such chains. None: the solver's own steps, all weights 1.
        reference: Mean and variance of the data, at the start and for draws of the end.
        chunk: Particles per model call.

    Returns:
        `Chain`, on a grid that starts at the path's t_min. `out.particles` are positions.

    Raises:
        FkdiffError: The solver is deterministic, or the model has no score.

    The law is that of the solver's chain on the grid, exactly. How far that is from the model's law is the solver's
    error: O(1/K) in K steps, and far smaller for `ancestral` than for `ddim` (`benchmarks/chain_law.py`).

    Cost: the solver's evaluations and jvps per step, + those of one step at the start; guidances add theirs.

    Gradients: pathwise, with `resample=fkdiff.smc.never`.
    """
    pred, solver = check_model(pred), ancestral(reference=reference) if solver is None else solver
    check_stochastic(solver, ", or fkdiff.correctors.tilt, which needs no noise")
    check_score(pred, "steering by a stochastic solver")
    guidance = Unguided() if guidance is None else guidance
    return Chain(pred, solver, guidance, as_reference(reference), chunk=chunk_size(chunk))
