"""Feynman–Kac steering: particles of any stochastic solver, weighted by a reward on the way and at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fkdiff.core import Array, Scalar, choose, number, require
from fkdiff.discrete import DiscretePredictor, DiscreteTarget, Unmask
from fkdiff.errors import deprecated
from fkdiff.prediction import Predictor
from fkdiff.smc import Model, Rewarded, rewarded
from fkdiff.smc.combinators._host import HostReward
from fkdiff.smc.combinators._rewarded import guided
from fkdiff.smc.combinators.potentials import POTENTIALS, AdaptiveRamp, linear_ramp
from fkdiff.smc.combinators.values import ValueEstimate, as_estimate
from fkdiff.solvers import Solver
from fkdiff.steering._chain import chain
from fkdiff.steering.tokens import token_chain
from fkdiff.steering.twisted import Twisted

# "base": the solver's own step. "twisted": shifted along the gradient of the cumulative potential.
PROPOSALS = {"base": False, "twisted": True}


def steer(
    pred: Predictor | DiscretePredictor | DiscreteTarget | Model,
    solver: Solver | Unmask | None = None,
    reward: Callable[[Any], Array] | HostReward | None = None,
    ramp: Callable[[Array], Array] | AdaptiveRamp = linear_ramp,
    potential: str | None = None,
    *,
    strength: Scalar = 1.0,
    estimate: str | ValueEstimate = "clean",
    intermediate: str | ValueEstimate | None = None,
    proposal: str = "base",
    reference: tuple[Scalar, Scalar] = (0.0, 1.0),
    chunk: int | None = None,
) -> Rewarded:
    """Draws from p_base · e^{strength · reward}, normalised, where p_base is what the solver (or the model) samples.

    `fkdiff.smc.rewarded(fkdiff.steering.chain(pred, solver), reward, …)`: the reward guides on the way, through an
    estimate of its value at the end, and counts exactly at the end. That is right at any number of steps, for every
    potential, ramp, estimate and proposal, and Ẑ is unbiased. How far p_base is from the model's law is the error of
    the solver's chain: see `fkdiff.steering.chain`. The reward need not be differentiable, and may be −∞.

    Args:
        pred: The model. Or a masked denoiser of tokens, or a target of `fkdiff.discrete`: its solver is
            `fkdiff.discrete.unmask(order)`, its estimate log-mean-exp over completions ("clean": one, "draws": eight),
            and its grid `jnp.linspace(0, 1, L + 1)`. Or any `fkdiff.smc.Model` without a solver:
            `steer(target.feynman_kac(), reward=reward)`.
        solver: A stochastic solver (`ancestral()`, `ddim(eta=1)`, `euler(noise=1)`, `exponential()`). Under a
            deterministic one duplicates would never separate. None: `ancestral(reference=reference)`.
        reward: `reward(x) -> scalar` in nats for ONE example, any JAX function or pytree; several by
            `fkdiff.steering.combined`. A Python function of a whole batch, of any kind, by `fkdiff.steering.host`: then
            `fkdiff.drive` runs the model.
        ramp: ρ = `ramp(progress)`, with progress from 0 at t_min to 1 at t_max. Or
            `fkdiff.steering.adaptive_ramp(ess)`: as fast as the ESS allows.
        potential: The statistic m in the cumulative potential ρ_k m_k. "difference" (the default of chains): m_k = R_k;
            "max": the largest R so far; "sum": the mean of all R so far; "terminal": no potential before the end.
        strength: λ; a leaf.
        estimate: R_k. "clean" (`clean_estimate()`), "draws" (`clean_draws(num)`), or `learned(value)`.
        intermediate: The former name of `estimate`.
        proposal: "base", the solver's own step, or "twisted": shifted along the gradient of ρ_k R_k, with the exact
            ratio in the weights. Twisted needs a differentiable reward, and the potential "difference".
        reference: Mean and variance of the data at the start.
        chunk: Particles per model call.

    Returns:
        A model for every driver and combinator (`fkdiff.drive` alone under a host reward), on a grid that starts at the
        path's t_min. `out.particles` are positions.

    Raises:
        FkdiffError: The solver is deterministic, or the reward does not return one number.

    Cost: the solver's evaluations and jvps, + those of one step at the start; the reward is evaluated once per step.
    "twisted" adds one reverse pass through the model per step; none when the value is learned.

    Gradients: none through resampling; see `fkdiff.correctors.tilt` for rewards that are differentiable.

    References:
        Singhal et al. (2025), the four potentials, with the weights carried between resamplings and the final reward
        settled in each; Wu et al. (2023) for the twisted proposal.
    """
    require(callable(reward), f"reward={reward!r} is not a function; pass reward(x) -> one number in nats.")
    require(callable(ramp), f"ramp={ramp!r} is not a function; pass ramp(progress), from 0 at t_min to 1 at t_max.")
    potential = potential if potential is None else _named(potential)
    twisted = choose("proposal", proposal, PROPOSALS)
    if intermediate is not None:
        deprecated("intermediate=", "estimate=")
        estimate = intermediate
    value = as_estimate(estimate)
    if isinstance(pred, Model):
        base = _without_solver(pred, solver, proposal, chunk)
    elif isinstance(pred, DiscretePredictor | DiscreteTarget):
        base = token_chain(pred, solver, proposal, chunk)
    elif twisted:
        _check_twisted(reward, potential)
        guidance = Twisted(reward, number("strength", strength, action="it multiplies the reward"), value)  # type: ignore[arg-type]
        return guided(chain(pred, solver, guidance, reference=reference, chunk=chunk), ramp)  # type: ignore[arg-type]
    else:
        base = chain(pred, solver, reference=reference, chunk=chunk)  # type: ignore[arg-type]
    return rewarded(base, reward, ramp, potential, strength=strength, estimate=value, chunk=chunk)  # type: ignore[arg-type]


def _named(potential: str) -> str:
    choose("potential", potential, POTENTIALS)
    return potential


def _check_twisted(reward: Any, potential: str | None) -> None:
    require(
        potential in (None, "difference"),
        f'proposal="twisted" follows the gradient of the present R, and potential="{potential}" uses another value; '
        'use potential="difference".',
    )
    require(
        not isinstance(reward, HostReward),
        'a host reward has no gradient, and proposal="twisted" follows one; use proposal="base".',
    )


def _without_solver(model: Model, solver: Any, proposal: str, chunk: int | None) -> Model:
    require(
        solver is None and proposal == "base",
        f'solver={solver!r} and proposal="{proposal}" make the steps of a chain, and a {type(model).__name__} makes '
        "its own: pass it alone, as in fkdiff.steer(model, reward=reward).",
    )
    return model if chunk is None else model.chunked(chunk)
