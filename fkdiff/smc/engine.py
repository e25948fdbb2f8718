"""The one engine: `init`, `step`, `finish`, and `run_smc`, which is a scan of them.

One step is: if the resampler says so, resample (every leaf of the particles at once) and refresh; then move and add
the increments. The last population is never resampled. Invariant, for every N, resampler and threshold:

    E[ exp(log_normalizer) · Σ W_i φ(x_i) ] = Γ_K(φ)          (bounded G)

A refresh after resamplings whose times the population chose (`adaptive`) holds it up to O(1/N); see `rejuvenation`.
Log-weights are unnormalised, those since the last resampling. A resampling moves their log-mean-exp, over all N
particles and the dead among them, into the normaliser.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, PyTree, Status, mix, stream, take, worst
from fkdiff.core.keys import Use
from fkdiff.smc import arguments
from fkdiff.smc.feynman_kac import FeynmanKac, MoveInfo, PopulationModel
from fkdiff.smc.resampling import Resampler, as_resampler, systematic
from fkdiff.smc.result import SMCInfo, SMCResult
from fkdiff.smc.state import SMCState, StepInfo, account, holds_nan, record, weigh
from fkdiff.smc.weights import compensated_add, ess, log_mean_exp, spread

Model = FeynmanKac | PopulationModel


def init(
    key: Key, model: Model, num_particles: int, t: Array, chunk: int | None = None, on_nan: str = "error"
) -> SMCState:
    """Draws the first population, with log G_0 as its log-weights.

    Args:
        key: The run's key; `init` and every `step` take the same one.
        model: A `FeynmanKac` (for one particle) or any population model.
        num_particles: N.
        t: The first grid time.
        chunk: Particles per model call, for a `FeynmanKac`.
        on_nan: As in `step`.
    """
    particles, log_g0, info = arguments.lifted(model, chunk).initial(initial_key(key), num_particles, t)
    return begin(particles, log_g0, info, num_particles, on_nan)


def initial_key(key: Key) -> Key:
    """The key of the first draw."""
    return stream(_step_key(key, 0), Use.INITIAL)


def begin(particles: PyTree, log_g0: Array, info: MoveInfo, num_particles: int, on_nan: str = "error") -> SMCState:
    """The state of a first population, however it was drawn."""
    log_g0 = arguments.check_log_weights(log_g0, num_particles, "log_g0 of the initial draw")
    # Half precision cannot count particles: weights have at least single precision.
    log_g0 = log_g0.astype(jnp.float32) if log_g0.dtype.itemsize < 4 else log_g0
    zero, none = jnp.zeros((), log_g0.dtype), jnp.int32(0)
    state = SMCState(
        particles=arguments.check_particles(jax.tree.map(jnp.asarray, particles), num_particles),
        log_weights=jnp.zeros_like(log_g0),
        log_normalizer=zero,
        compensation=zero,
        ancestors=jnp.arange(num_particles, dtype=jnp.int32),
        step=none,
        evaluations=none,
        jvps=none,
        status=jnp.int32(Status.OK),
        status_step=none,
        bad_count=none,
        bad_index=none,
        killed=none,
    )
    return account(weigh(state, log_g0, on_nan, info.status), info)


def step(
    key: Key,
    model: Model,
    state: SMCState,
    t0: Array,
    t1: Array,
    resample: Resampler | None = None,
    on_nan: str = "error",
    chunk: int | None = None,
) -> tuple[SMCState, StepInfo]:
    """Resamples and refreshes if the resampler says so, then moves from t0 to t1 and adds the increments.

    Args:
        key: The run's key, the same at every step: the step's own is folded in from `state.step`.
        model: As in `init`.
        state: From `init` or the last `step`.
        t0: Time of the state.
        t1: Time to move to, t1 > t0.
        resample: A resampler; `adaptive(systematic, 0.5)` by default.
        on_nan: "error", or "kill" (weight zero, counted).
        chunk: As in `init`.
    """
    model = arguments.lifted(model, chunk)
    resample = arguments.check_resampler(None, model) if resample is None else as_resampler(resample)
    state, resampled = select(key, model, state, t0, resample)
    moved, increments, info = model.move(move_key(key, state), state.particles, state.log_weights, t0, t1)
    return absorb(state, moved, increments, info, resampled, t0, t1, on_nan)


def select(key: Key, model: PopulationModel, state: SMCState, t: Array, resample: Resampler) -> tuple[SMCState, Array]:
    """The first half of a step: resamples and refreshes if the resampler says so."""
    return _resample(_step_key(key, state.step + 1), model, state, t, resample)


def move_key(key: Key, state: SMCState) -> Key:
    """The key of the move that comes next."""
    return stream(_step_key(key, state.step + 1), Use.MOVE)


def absorb(
    state: SMCState,
    moved: PyTree,
    increments: Array,
    info: MoveInfo,
    resampled: Array,
    t0: Array,
    t1: Array,
    on_nan: str = "error",
) -> tuple[SMCState, StepInfo]:
    """The second half of a step: takes the moved particles in, with their increments."""
    number = state.step + 1
    arguments.check_moved(state.particles, moved)
    increments = arguments.check_log_weights(increments, state.log_weights.shape[0], "log_potential of a move")
    on_time = jnp.where(t1 > t0, jnp.int32(Status.OK), jnp.int32(Status.BAD_GRID))
    state = eqx.tree_at(lambda s: (s.particles, s.step), state, (moved, number))
    state = account(weigh(state, increments, on_nan, worst(on_time, info.status)), info)
    dtype = state.log_weights.dtype
    share = jnp.asarray(info.residual, dtype)
    return state, StepInfo(ess(state.log_weights), resampled, share, spread(state.log_weights), info.report)


def _step_key(key: Key, number: Array | int) -> Key:
    """The key of one step, 0 being the initial draw; each use of it streams from there."""
    return jax.random.fold_in(key, number)


def _resample(
    key: Key, model: PopulationModel, state: SMCState, t: Array, resample: Resampler
) -> tuple[SMCState, Array]:
    """Asks the resampler; gathers, refreshes and banks the evidence only if it resampled."""
    before = state.log_weights
    resample = resample.at(t).given(state.particles)
    ancestors, log_weights, resampled = resample(stream(key, Use.RESAMPLE), before)
    refresh = getattr(model, "refresh", None)

    def gather(operands):
        particles, lineage = _inherit(operands, ancestors)
        if refresh is not None:
            particles = refresh(stream(key, Use.REFRESH), particles, t)
        return particles, lineage, log_mean_exp(before)

    def keep(operands):
        return *operands, jnp.zeros((), before.dtype)

    particles, lineage, banked = jax.lax.cond(resampled, gather, keep, (state.particles, state.ancestors))
    total, compensation = compensated_add(state.log_normalizer, state.compensation, banked)
    evaluations, jvps = (getattr(model, "refresh_cost", None) or (0, 0)) if refresh is not None else (0, 0)
    happened = resampled.astype(jnp.int32)
    state = eqx.tree_at(
        lambda s: (
            s.particles, s.ancestors, s.log_weights, s.log_normalizer, s.compensation, s.evaluations, s.jvps
        ),
        state,
        (
            particles, lineage, log_weights, total, compensation,
            state.evaluations + happened * evaluations, state.jvps + happened * jvps,
        ),
    )  # fmt: skip
    return state, resampled


def _inherit(operands: tuple[PyTree, Array], ancestors: Array) -> tuple[PyTree, Array]:
    """Particles and lineage of the ancestors: copies, or mixtures by a plan, whose lineage is its largest share."""
    if ancestors.ndim == 1:
        return take(operands, ancestors)
    particles, lineage = operands
    return mix(particles, ancestors), lineage[jnp.argmax(ancestors, axis=1)]


def finish(
    model: Model,
    state: SMCState,
    grid: Array,
    first_ess: Array,
    steps: StepInfo,
    resample: Resampler | None = None,
    collected: Any = None,
    on_nan: str = "error",
    chunk: int | None = None,
) -> SMCResult:
    """Applies the model's final potential, and closes.

    Args:
        model: As in `init`.
        state: After the last step.
        grid: The times visited, (K + 1,).
        first_ess: ESS of the first population.
        steps: `StepInfo` of every step, stacked, (K,).
        resample: What `step` was given; only its family is read.
        collected: Passed through.
        on_nan: As in `step`.
        chunk: As in `init`.
    """
    model = arguments.lifted(model, chunk)
    final, extract = getattr(model, "final", None), getattr(model, "extract", None)
    if final is not None:
        state = settle(state, final(state.particles), on_nan)
    return close(extract, state, grid, first_ess, steps, resample, collected)


def close(
    extract: Callable | None,
    state: SMCState,
    grid: Array,
    first_ess: Array,
    steps: StepInfo,
    resample: Resampler | None = None,
    collected: Any = None,
) -> SMCResult:
    """The result of a state as it stands: what `extract` makes of its particles, and the normaliser closed."""
    particles = state.particles if extract is None else extract(state.particles)
    log_weights = state.log_weights
    nan = holds_nan(particles, log_weights.shape[0]) & (log_weights > -jnp.inf)
    state = record(state, jnp.where(nan.any(), jnp.int32(Status.NAN), jnp.int32(Status.OK)), nan)
    total, _ = compensated_add(state.log_normalizer, state.compensation, log_mean_exp(log_weights))
    info = SMCInfo(
        times=grid,
        # A run that was stopped before its first step has one time, and its ESS is the last one.
        ess=jnp.concatenate([first_ess[None], steps.ess[:-1], ess(log_weights)[None]])[-grid.shape[0] :],
        residual=steps.residual,
        resampled=steps.resampled,
        spread=steps.spread,
        ancestors=state.ancestors,
        evaluations=state.evaluations,
        jvps=state.jvps,
        status=state.status,
        status_step=state.status_step,
        bad_count=state.bad_count,
        bad_index=state.bad_index,
        killed=state.killed,
        report=steps.report,
    )
    family = as_resampler(systematic if resample is None else resample).family
    return SMCResult(particles, log_weights, total, info, collected, family)


def settle(state: SMCState, last: Array, on_nan: str = "error") -> SMCState:
    """Adds the final potential."""
    last = arguments.check_log_weights(last, state.log_weights.shape[0], "log_final")
    return weigh(state, last, on_nan, Status.OK)
