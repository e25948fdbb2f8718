"""What `run_smc` returns: a weighted population, its evidence, and how far to trust both."""

from __future__ import annotations

import os
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from fkdiff.core import Array, PyTree
from fkdiff.core.host import intended_transfers
from fkdiff.smc.results import health, saving
from fkdiff.smc.results.pair import Pair


class SMCInfo(eqx.Module):
    """Diagnostics of a run with K steps and N particles.

    Attributes:
        times: The grid, (K + 1,).
        ess: Effective sample size at each time, before the next resampling, (K + 1,).
        residual: sd_w(g + Aθ) Δt of each step, (K,); its sum is R. NaN where nothing measures it.
        resampled: Whether each step began with a resampling, bool (K,).
        spread: Standard deviation of the living log-weights after each step, (K,).
        ancestors: Time-0 ancestor of each final particle, int32 (N,).
        evaluations: Model calls per particle over the run, the start and refreshes included.
        jvps: Jacobian products per particle, likewise.
        status: The first `Status` that was not OK; a failure displaces a doubt (`UNFINISHED`).
        status_step: The step at which it appeared; 0 is the initial draw.
        bad_count: How many particles it concerned.
        bad_index: The first of them.
        killed: NaN weights set to zero under `on_nan="kill"`; the result is biased if it is not 0.
        report: What the model reported of every step, stacked, (K, …); None if it reports nothing.
        step_error: What the steps may add to the error of log Ẑ, from a run of half the steps; None: not measured.
        missing: The share of the target where the particles alone should be too few to be met; None: not measured.
        tail: k̂, the tail index of p̃/q over plain draws of the models; above 0.7 they do not reach all of the target
            either. None: not measured.
    """

    times: Array
    ess: Array
    residual: Array
    resampled: Array
    spread: Array
    ancestors: Array
    evaluations: Array
    jvps: Array
    status: Array
    status_step: Array
    bad_count: Array
    bad_index: Array
    killed: Array
    report: Any = None
    step_error: Array | None = None
    missing: Array | None = None
    tail: Array | None = None

    @property
    def R(self) -> Array:
        """Σ_k sd_w(g + Aθ) Δt, the starvation signal: above 2 a growing mode may have been missed.

        NaN where the model does not measure it, as only correctors do.
        """
        return self.residual.sum(axis=-1)

    @property
    def resamplings(self) -> Array:
        """How many times the population was resampled."""
        return self.resampled.sum(axis=-1)


class SMCResult(eqx.Module):
    """Weighted particles and their evidence.

    Attributes:
        particles: What the model extracts, at the last grid time; pytree with leading axis N.
        log_weights: Unnormalised, since the last resampling, (N,). The population is never resampled at the end:
            use `fkdiff.smc.resample`, or weight every average.
        log_normalizer: log Ẑ with every constant; exp of it is unbiased for the mass of Γ_K.
        info: `SMCInfo`.
        collected: What `collect` returned, stacked over the K + 1 times, or None.
        scheme: Family of the resampler, which decides the formula of the evidence's error.
        pair: Populations in all and in half the steps, for the error of steps in averages; None: not measured.
        strata: Numbers of particles that were drawn by one rule each, in their order; () where one rule drew all.
    """

    particles: PyTree
    log_weights: Array
    log_normalizer: Array
    info: SMCInfo
    collected: Any = None
    scheme: str = eqx.field(static=True, default="other")
    pair: Pair | None = None
    strata: tuple[int, ...] = eqx.field(static=True, default=())

    @intended_transfers
    def problems(self) -> tuple[list[str], list[str]]:
        """Sentences that forbid using the result, and sentences that ask for a second look."""
        return health.problems(self)

    def save(self, path: str | os.PathLike) -> None:
        """Writes everything to one .npz file (arrays only), in one stroke: a crash leaves the old file or the new."""
        saving.save(self, path)

    @staticmethod
    def load(path: str | os.PathLike) -> SMCResult:
        """Reads what `save` wrote; trees of particles come back as nested dicts, lists and arrays.

        Raises:
            FkdiffError: The file is missing, damaged, or not a result.
        """

        def make(info, pair=None, **fields):
            return SMCResult(info=SMCInfo(**info), pair=None if pair is None else Pair(**pair), **fields)

        return saving.load(path, make)

    @intended_transfers
    def __repr__(self) -> str:
        batched = jnp.ndim(self.log_normalizer) > 0
        return eqx.tree_pformat(self) if batched or not health.known(self) else health.table(self)

    __str__ = __repr__
