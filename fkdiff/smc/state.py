"""A weighted population between two steps, and the bookkeeping of what happens to it."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, PyTree, Status, failed
from fkdiff.smc.model import MoveInfo
from fkdiff.smc.weights import compensated_add


class SMCState(eqx.Module):
    """A weighted population between two steps.

    Attributes:
        particles: Pytree with leading axis N.
        log_weights: Since the last resampling, (N,).
        log_normalizer: What past resamplings and constants contributed; the current weights are not in it yet.
        compensation: Rounding error carried by the compensated sum of `log_normalizer`.
        ancestors: Time-0 ancestor of each particle, int32 (N,).
        step: Moves made so far.
        evaluations: Model calls per particle so far.
        jvps: Jacobian products per particle so far.
        status: The first `Status` that was not OK; a failure displaces a doubt.
        status_step: The step at which it appeared; 0 is the initial draw.
        bad_count: How many particles it concerned.
        bad_index: The first of them.
        killed: NaN weights set to zero under `on_nan="kill"`.
    """

    particles: PyTree
    log_weights: Array
    log_normalizer: Array
    compensation: Array
    ancestors: Array
    step: Array
    evaluations: Array
    jvps: Array
    status: Array
    status_step: Array
    bad_count: Array
    bad_index: Array
    killed: Array


class StepInfo(NamedTuple):
    """What one step reports; all scalars.

    Attributes:
        ess: Effective sample size after the move.
        resampled: Whether the population was resampled before it.
        residual: sd_w(g + Aθ) Δt, this step's share of R.
        spread: Standard deviation of the living log-weights after the move.
        report: The model's own, `MoveInfo.report`.
    """

    ess: Array
    resampled: Array
    residual: Array
    spread: Array
    report: Any = None


def weigh(state: SMCState, increments: Array, on_nan: str, status: Array | int) -> SMCState:
    """Adds increments to the log-weights and records the first thing that goes wrong."""
    before = state.log_weights
    # The dead stay dead, whatever their increments are: nobody evaluates a potential on a path of mass zero.
    after = jnp.where(before == -jnp.inf, before, before + increments.astype(before.dtype))
    nan = jnp.isnan(after)
    killed = state.killed
    if on_nan == "kill":
        killed = killed + nan.sum(dtype=jnp.int32)
        after = jnp.where(nan, -jnp.inf, after)
        nan = jnp.zeros_like(nan)
    infinite, dead = after == jnp.inf, after == -jnp.inf
    state = eqx.tree_at(lambda s: (s.log_weights, s.killed), state, (after, killed))
    state = record(state, status, jnp.zeros_like(nan))
    state = record(state, jnp.where(nan.any(), jnp.int32(Status.NAN), jnp.int32(Status.OK)), nan)
    state = record(state, jnp.where(infinite.any(), jnp.int32(Status.INFINITE), jnp.int32(Status.OK)), infinite)
    return record(state, jnp.where(dead.all(), jnp.int32(Status.EXTINCT), jnp.int32(Status.OK)), dead)


def record(state: SMCState, status: Array | int, concerned: Array) -> SMCState:
    """Keeps the first failure, or else the first doubt, with its step, count and first index."""
    status = jnp.asarray(status, jnp.int32)
    first = jnp.where(state.status == Status.OK, status != Status.OK, failed(status) & ~failed(state.status))
    news = (status, state.step, concerned.sum(dtype=jnp.int32), jnp.argmax(concerned).astype(jnp.int32))
    where = lambda s: (s.status, s.status_step, s.bad_count, s.bad_index)  # noqa: E731
    kept = tuple(jnp.where(first, new, old) for new, old in zip(news, where(state), strict=True))
    return eqx.tree_at(where, state, kept)


def account(state: SMCState, info: MoveInfo) -> SMCState:
    """Adds a move's constant to the normaliser and its cost to the counts."""
    constant = jnp.asarray(info.log_constant, state.log_normalizer.dtype)
    total, compensation = compensated_add(state.log_normalizer, state.compensation, constant)
    evaluations = state.evaluations + jnp.asarray(info.evaluations, jnp.int32)
    jvps = state.jvps + jnp.asarray(info.jvps, jnp.int32)
    return eqx.tree_at(
        lambda s: (s.log_normalizer, s.compensation, s.evaluations, s.jvps),
        state,
        (total, compensation, evaluations, jvps),
    )


def holds_nan(particles: PyTree, count: int) -> Array:
    """Which particles hold a NaN in any floating leaf, (N,)."""
    found = jnp.zeros((count,), bool)
    for leaf in jax.tree.leaves(particles):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            found = found | jnp.isnan(leaf).reshape(count, -1).any(axis=1)
    return found
