"""Feynman–Kac steering: particles of any stochastic solver, weighted by a reward on the way and at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fkdiff.core import Array, Scalar, choose, number, require
from fkdiff.discrete import DiscretePredictor, DiscreteTarget, Unmask
from fkdiff.prediction import Predictor
from fkdiff.smc import FeynmanKac
from fkdiff.solvers import Solver
from fkdiff.solvers.base import check_model, check_score, check_stochastic
from fkdiff.solvers.reference import as_reference
from fkdiff.steering.guesses import GUESSES, Guess
from fkdiff.steering.host import HostReward, HostSteering
from fkdiff.steering.particle import Steering
from fkdiff.steering.potentials import POTENTIALS
from fkdiff.steering.proposals import PROPOSALS
from fkdiff.steering.tempered import AdaptiveRamp, Tempered
from fkdiff.steering.tokens import steer_tokens


def linear_ramp(progress: Array) -> Array:
    """The default ramp: as much of the reward as of the path."""
    return progress


def steer(
    pred: Predictor | DiscretePredictor | DiscreteTarget,
    solver: Solver | Unmask,
    reward: Callable[[Array], Array] | HostReward,
    ramp: Callable[[Array], Array] | AdaptiveRamp = linear_ramp,
    potential: str = "difference",
    *,
    strength: Scalar = 1.0,
    intermediate: str | Guess = "clean",
    proposal: str = "base",
    reference: tuple[Scalar, Scalar] = (0.0, 1.0),
) -> Any:
    """Draws from p_base · e^{strength · reward}, normalised, where p_base is what the solver samples.

    The reward guides on the way, through a guess at what the end will pay, and is settled exactly at the end: the law
    is right at any number of steps, for every potential, ramp, guess and proposal. It need not be differentiable.

    Args:
        pred: The model. Or a masked denoiser of tokens, or a target of `fkdiff.discrete`: its solver is
            `fkdiff.discrete.unmask(order)`, its guess log-mean-exp over completions ("clean": one, "draws": eight), and
            its grid `jnp.linspace(0, 1, L + 1)`.
        solver: A stochastic solver (`ddim(eta=1)`, `euler(noise=1)`, `exponential()`). Under a deterministic one
            duplicates would never separate.
        reward: `reward(x) -> scalar` in nats for ONE example, any JAX function or pytree; several by
            `fkdiff.steering.combined`. A Python function of a whole batch, of any kind, by `fkdiff.steering.host`: then
            `fkdiff.drive` runs the model.
        ramp: `ramp(progress)`, the share of the reward promised so far; progress runs from 0 at t_min to 1 at t_max. Or
            `fkdiff.steering.adaptive_ramp(ess)`: as fast as the ESS allows.
        potential: What is promised, ρ_k m_k. "difference": m_k = R_k; "max": the largest R so far; "sum": the mean of
            all R so far; "terminal": nothing before the end.
        strength: λ; a leaf.
        intermediate: R_k. "clean" (`clean_estimate()`), "draws" (`clean_draws(num)`), or `learned(value)`.
        proposal: "base", the solver's own step, or "twisted": shifted along the gradient of ρ_k R_k, with the exact
            ratio in the weights. Twisted needs a differentiable guess, and promises of "difference".
        reference: Mean and variance of the data at the start.

    Returns:
        A `FeynmanKac` model for `run_smc` (a population model under an adaptive ramp; one for `fkdiff.drive` under a
        host reward), on a grid that starts at the path's t_min. `out.particles` are positions.

    Raises:
        FkdiffError: The solver is deterministic, or the reward does not return one number.

    Cost: the solver's evaluations, + 1 at the start; the reward is evaluated once per step. "twisted" adds one reverse
    pass through the model per step; none when the guess is learned.

    Gradients: none through resampling; see `fkdiff.correctors.tilt` for rewards that are differentiable.

    References:
        Singhal et al. (2025), the four potentials, with the weights carried between resamplings and the final reward
        settled in each; Wu et al. (2023) for the twisted proposal.
    """
    require(callable(reward), f"reward={reward!r} is not a function; pass reward(x) -> one number in nats.")
    require(callable(ramp), f"ramp={ramp!r} is not a function; pass ramp(progress), from 0 at t_min to 1 at t_max.")
    choose("potential", potential, POTENTIALS)
    if isinstance(pred, DiscretePredictor | DiscreteTarget):
        return steer_tokens(pred, solver, reward, ramp, potential, strength, intermediate, proposal)
    pred, solver = check_model(pred), check_stochastic(solver, ", or fkdiff.correctors.tilt, which needs no noise")
    check_score(pred, "steering by a stochastic solver")
    twisted = choose("proposal", proposal, PROPOSALS)
    guess = intermediate if isinstance(intermediate, Guess) else choose("intermediate", intermediate, GUESSES)()
    require(
        not twisted or potential == "difference",
        f'proposal="twisted" follows the gradient of the present R, and potential="{potential}" promises another '
        'amount; use potential="difference".',
    )
    parts = Steering(
        pred=pred,
        solver=solver,
        reward=reward,
        strength=number("strength", strength, action="it multiplies the reward"),
        ramp=ramp,
        guess=guess,
        reference=as_reference(reference),
        potential=potential,
        twisted=twisted,
    )
    if isinstance(reward, HostReward):
        return HostSteering.build(parts)
    if isinstance(ramp, AdaptiveRamp):
        return Tempered.build(parts)
    return FeynmanKac(
        initial=parts.initial,
        propose=parts.propose,
        log_potential=parts.log_potential,
        log_final=parts.log_final,
        extract=parts.extract,
        fault=parts.fault,
        evaluations=solver.evaluations,
        jvps=int(twisted and guess.reads_model),
        time_range=parts.time_range,
    )
