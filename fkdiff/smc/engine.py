"""The one engine: `init`, `step`, `finish`, and `run_smc`, which is a scan of them.

One step is

    resample (every leaf of the particles at once, if the resampler says so) and refresh,
    move, ask the model's question, settle with the answers, weigh.

The last population is never resampled. Invariant, for every N, resampler and threshold:

    E[ exp(log_normalizer) · Σ W_i φ(x_i) ] = Γ_K(φ)          (bounded G)

A refresh after resamplings whose times the population chose (`adaptive`) holds it up to O(1/N); see `rejuvenation`.
Log-weights are unnormalised, those since the last resampling. A resampling moves their log-mean-exp, over all N
particles and the dead among them, into the normaliser.

A step has two halves, since the answers may come from the host: `ask` ends with the question, `tell` begins with the
answers. `step` is both with the model's own answers in between, and `fkdiff.drive` compiles them apart.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, PyTree, Status, mix, stream, take, worst
from fkdiff.core.keys import Use
from fkdiff.smc import arguments
from fkdiff.smc.model import Model, MoveInfo
from fkdiff.smc.resamplers.resampling import Resampler, as_resampler, systematic
from fkdiff.smc.results.result import SMCInfo, SMCResult
from fkdiff.smc.state import SMCState, StepInfo, account, holds_nan, record, weigh
from fkdiff.smc.weights import compensated_add, ess, log_mean_exp, normalized, spread


class Asked(NamedTuple):
    """A population that has moved and waits for answers.

    Attributes:
        particles: After the move.
        increments: Of the move, (N,).
        info: Of the move.
        resampled: Whether the population was resampled before it.
        question: For `Model.answer`.
    """

    particles: PyTree
    increments: Array
    info: MoveInfo
    resampled: Array
    question: PyTree


def init(key: Key, model: Model, num_particles: int, t: Array, on_nan: str = "error") -> SMCState:
    """Draws the first population, with log G_0 as its log-weights.

    Args:
        key: The run's key; `init` and every `step` take the same one.
        model: Any `Model`.
        num_particles: N.
        t: The first grid time.
        on_nan: As in `step`.
    """
    asked = ask_first(key, model, num_particles, t)
    return tell_first(model, asked, model.answer(asked.question), t, on_nan)


def ask_first(key: Key, model: Model, num_particles: int, t: Array) -> Asked:
    """The first draw, and the model's question about it."""
    key = _step_key(key, 0)
    particles, log_g0, info = model.initial(stream(key, Use.INITIAL), num_particles, t)
    particles = arguments.check_particles(jax.tree.map(jnp.asarray, particles), num_particles)
    log_g0 = arguments.check_log_weights(log_g0, num_particles, "log_g0 of the initial draw")
    # Half precision cannot count particles: weights have at least single precision.
    log_g0 = log_g0.astype(jnp.float32) if log_g0.dtype.itemsize < 4 else log_g0
    question = model.question(stream(key, Use.VALUE), particles, t, False)
    return Asked(particles, log_g0, info, jnp.asarray(False), question)


def tell_first(model: Model, asked: Asked, answers: PyTree, t: Array, on_nan: str = "error") -> SMCState:
    """The state of the first population once the answers are known."""
    particles, extra = model.settle(asked.particles, asked.increments, answers, t, False)
    log_g0, num_particles = asked.increments, asked.increments.shape[0]
    zero, none = jnp.zeros((), log_g0.dtype), jnp.int32(0)
    state = SMCState(
        particles=particles,
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
    return account(weigh(state, log_g0 + _checked(extra, num_particles), on_nan, asked.info.status), asked.info)


def step(
    key: Key,
    model: Model,
    state: SMCState,
    t0: Array,
    t1: Array,
    resample: Resampler | None = None,
    on_nan: str = "error",
) -> tuple[SMCState, StepInfo]:
    """Resamples and refreshes if the resampler says so, moves from t0 to t1, asks, settles and weighs.

    Args:
        key: The run's key, the same at every step: the step's own is folded in from `state.step`.
        model: As in `init`.
        state: From `init` or the last `step`.
        t0: Time of the state.
        t1: Time to move to, t1 > t0.
        resample: A resampler; `adaptive(systematic, 0.5)` by default.
        on_nan: "error", or "kill" (weight zero, counted).
    """
    resample = arguments.check_resampler(None, model) if resample is None else as_resampler(resample)
    state, asked = ask(key, model, state, t0, t1, resample)
    return tell(model, state, asked, model.answer(asked.question), t0, t1, on_nan)


def ask(key: Key, model: Model, state: SMCState, t0: Array, t1: Array, resample: Resampler) -> tuple[SMCState, Asked]:
    """The first half of a step: resample, refresh, move, and the model's question."""
    key = _step_key(key, state.step + 1)
    state, resampled = _resample(key, model, state, t0, resample)
    moved, increments, info = model.move(stream(key, Use.MOVE), state.particles, state.log_weights, t0, t1)
    arguments.check_moved(state.particles, moved)
    increments = arguments.check_log_weights(increments, state.log_weights.shape[0], "log_potential of a move")
    question = model.question(stream(key, Use.VALUE), moved, t1, False)
    return state, Asked(moved, increments, info, resampled, question)


def tell(
    model: Model, state: SMCState, asked: Asked, answers: PyTree, t0: Array, t1: Array, on_nan: str = "error"
) -> tuple[SMCState, StepInfo]:
    """The second half of a step: settle with the answers, and weigh."""
    increments, info, dtype = asked.increments, asked.info, state.log_weights.dtype
    told = state.log_weights + jnp.where(state.log_weights == -jnp.inf, 0.0, increments.astype(dtype))
    particles, extra = model.settle(asked.particles, told, answers, t1, False)
    arguments.check_moved(state.particles, particles)
    on_time = jnp.where(t1 > t0, jnp.int32(Status.OK), jnp.int32(Status.BAD_GRID))
    state = eqx.tree_at(lambda s: (s.particles, s.step), state, (particles, state.step + 1))
    increments = increments.astype(dtype) + _checked(extra, told.shape[0]).astype(dtype)
    state = account(weigh(state, increments, on_nan, worst(on_time, info.status)), info)
    share = jnp.asarray(info.residual, dtype)
    return state, StepInfo(ess(state.log_weights), asked.resampled, share, spread(state.log_weights), info.report)


def _checked(increments: Array, num_particles: int) -> Array:
    return arguments.check_log_weights(increments, num_particles, "what settle adds")


def _step_key(key: Key, number: Array | int) -> Key:
    """The key of one step, 0 being the initial draw; each use of it streams from there."""
    return jax.random.fold_in(key, number)


def _resample(key: Key, model: Model, state: SMCState, t: Array, resample: Resampler) -> tuple[SMCState, Array]:
    """Asks the resampler; gathers, refreshes and banks the evidence only if it resampled."""
    before = state.log_weights
    resample = resample.at(t).given(state.particles)
    ancestors, log_weights, resampled = resample(stream(key, Use.RESAMPLE), before)

    def gather(operands):
        particles, lineage = _inherit(operands, ancestors)
        return model.refresh(stream(key, Use.REFRESH), particles, t), lineage, log_mean_exp(before)

    def keep(operands):
        return *operands, jnp.zeros((), before.dtype)

    particles, lineage, banked = jax.lax.cond(resampled, gather, keep, (state.particles, state.ancestors))
    total, compensation = compensated_add(state.log_normalizer, state.compensation, banked)
    evaluations, jvps = model.refresh_cost
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
    if ancestors.ndim == 2:
        state = record(
            state, _unfinished(ancestors, before, resampled, resample.plan_tolerance), jnp.zeros_like(before, bool)
        )
    return state, resampled


def _unfinished(plan: Array, log_weights: Array, resampled: Array, tolerance: float) -> Array:
    """`UNFINISHED` where a plan spends the particles in other shares than their weights."""
    plan, log_weights = jax.lax.stop_gradient((plan, log_weights))
    error = jnp.abs(plan.mean(axis=0) - normalized(log_weights).astype(plan.dtype)).sum()
    fine = error <= 2 * tolerance + 64 * float(jnp.finfo(plan.dtype).eps)  # NaN is not
    return jnp.where(resampled & ~fine, jnp.int32(Status.UNFINISHED), jnp.int32(Status.OK))


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
) -> SMCResult:
    """Applies the model's final potential, asks for the last time, and closes.

    Args:
        model: As in `init`.
        state: After the last step.
        grid: The times visited, (K + 1,).
        first_ess: ESS of the first population.
        steps: `StepInfo` of every step, stacked, (K,).
        resample: What `step` was given; only its family is read.
        collected: Passed through.
        on_nan: As in `step`.
    """
    return close(model, end(model, state, grid[-1], on_nan), grid, first_ess, steps, resample, collected)


def end(model: Model, state: SMCState, t: Array, on_nan: str = "error") -> SMCState:
    """The final potential, the last question and its answers."""
    state, question = ask_last(model, state, t, on_nan)
    return tell_last(model, state, model.answer(question), t, on_nan)


def ask_last(model: Model, state: SMCState, t: Array, on_nan: str = "error") -> tuple[SMCState, PyTree]:
    """The final potential, and the last question: about what `extract` gives."""
    last = arguments.check_log_weights(model.final(state.particles, t), state.log_weights.shape[0], "log_final")
    state = weigh(state, last, on_nan, Status.OK)
    return state, model.question(None, state.particles, t, True)  # nothing is random at the end


def tell_last(model: Model, state: SMCState, answers: PyTree, t: Array, on_nan: str = "error") -> SMCState:
    """The population settled for good."""
    particles, extra = model.settle(state.particles, state.log_weights, answers, t, True)
    state = eqx.tree_at(lambda s: s.particles, state, particles)
    return weigh(state, _checked(extra, state.log_weights.shape[0]), on_nan, Status.OK)


def close(
    model: Model,
    state: SMCState,
    grid: Array,
    first_ess: Array,
    steps: StepInfo,
    resample: Resampler | None = None,
    collected: Any = None,
) -> SMCResult:
    """The result of a state as it stands: what `extract` makes of its particles, and the normaliser closed."""
    particles = model.extract(state.particles, grid[-1])
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
