"""Posterior sampling: x from a model, given y = A x + noise ξ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from fkdiff.core import Array, Scalar, choose, concrete, expect, number, require
from fkdiff.inverse_problems.adapted import Adapted
from fkdiff.inverse_problems.bases import basis
from fkdiff.inverse_problems.gradients import Dps, Pigdm, Tmpd
from fkdiff.inverse_problems.operators import LinearOperator
from fkdiff.inverse_problems.problem import Likelihood, Problem
from fkdiff.prediction import Predictor
from fkdiff.smc import Model, Rewarded, rewarded
from fkdiff.smc.combinators._rewarded import guided
from fkdiff.solvers import Solver, ancestral
from fkdiff.solvers.base import check_model, check_score
from fkdiff.steering._chain import chain
from fkdiff.steering.guidance import Guidance

GUIDANCE: dict[str, Callable[[Problem], Guidance]] = {"adapted": Adapted, "pigdm": Pigdm, "tmpd": Tmpd, "dps": Dps}


def full(progress: Array) -> Array:
    """The whole of a twist, from the start: it knows by itself how little is known early on."""
    return jnp.ones_like(progress)


def inverse(
    pred: Predictor | Model,
    solver: Solver | None,
    operator: LinearOperator,
    observation: Array,
    noise: Scalar,
    *,
    proposal: str | None = None,
    reference: tuple[Any, Any] = (0.0, 1.0),
    chunk: int | None = None,
) -> Rewarded:
    """Draws from the posterior p_base(x) N(y; A x, noise² I)/p(y), where p_base is what the solver samples.

    That is right at any number of steps for every proposal and reference; they move variance alone. How far p_base is
    from the model's law is the error of the solver's chain: see `fkdiff.steering.chain`. With log G_0 =
    log ψ_0 and log G_k = log ψ_k − log ψ_{k−1} + log M_k − log M̃_k, the last is log N(y; A x_K, noise² I) − log ψ_K.

    Args:
        pred: The model; or any `fkdiff.smc.Model` with `solver=None`, whose law then takes the place of p_base: it
            moves as it does, and y enters by the weights alone, through the model's estimate of the end.
        solver: A stochastic solver (`ancestral()`, `ddim(eta=1)`, `euler(noise=1)`, `exponential()`). None:
            `ancestral(reference=(m, ς²))`, of Σ the diagonal.
        operator: A, from `fkdiff.inverse_problems`: `matrix`, `mask`, `blur` or `downsample`, on examples of the
            model's shape.
        observation: y, of the operator's shape `observed`; a leaf.
        noise: The standard deviation of the noise of y, in its unit, positive; a leaf. Without noise the posterior
            lives on a set that weighted particles never hit; take a small one, such as 1 % of the data's spread.
        proposal: "adapted" (`Adapted`, the default): steps conditioned on y, exact for Gaussian data, without a
            gradient of the model; "pigdm", "tmpd", "dps": shifted along the gradient of a twist, through the model.
        reference: Mean and variance of the data: (m, ς²), or (m, Σ) with Σ of flattened examples, (d, d). They stand
            for the data at the start, N(α m, α² Σ + σ² I), and in the twists of "adapted" and "pigdm": the covariance
            of a sample of the data is worth its O(m³) per step.
        chunk: Particles per model call.

    Returns:
        A model for every driver and combinator, on a grid that starts at the path's t_min and should end at t_max.
        `out.particles` are positions, `out.log_normalizer` is log p(y), with every constant.

    Raises:
        FkdiffError: A shape disagrees, the solver is deterministic, or the noise is not positive.

    Cost: the solver's evaluations, + 1 at the start; per step "dps" and "pigdm" add one reverse pass through the model,
    "tmpd" one jvp more, "adapted" none. A covariance Σ takes Cholesky factors (m, m), once per step for all particles;
    in float32 keep noise² above 1e-5 of the variance of A x.

    Gradients: none through resampling.

    References:
        Wu, Trippe, Naesseth, Blei and Cunningham (2023) for weights on guided chains; `Dps`, `Pigdm`, `Tmpd` and
        `Adapted` name their own.
    """
    made = "make one by fkdiff.inverse_problems.matrix(A), mask(keep), blur or downsample"
    expect("operator", operator, LinearOperator, made)
    if isinstance(pred, Model):
        return _by_weights(pred, solver, _likelihood(operator, observation, noise), proposal)
    check_score(check_model(pred, OR_MODEL), "posterior sampling")
    require(
        operator.shape == pred.shape,
        f"operator takes examples of shape {operator.shape} and the model makes {pred.shape}; build it with "
        f"shape={pred.shape}.",
    )
    make = choose("proposal", "adapted" if proposal is None else proposal, GUIDANCE)
    coordinates = basis(operator, reference)
    guidance = make(Problem(_likelihood(operator, observation, noise), coordinates))
    if solver is None:
        solver = ancestral(reference=(reference[0], coordinates.variances(pred.shape)))
    return guided(chain(pred, solver, guidance, chunk=chunk), full)


def _likelihood(operator: LinearOperator, observation: Any, noise: Any) -> Likelihood:
    observation = number("observation", observation, shape=None)
    require(
        observation.shape == operator.observed,
        f"observation has shape {observation.shape} and this operator gives {operator.observed}; pass "
        "operator.apply(x) + noise of ONE example.",
    )
    noise = number("noise", noise, action="it is the standard deviation of the noise of an observation")
    known = concrete(noise)
    require(
        known is None or bool(known > 0),
        f"noise={known} must be a positive standard deviation: without noise the posterior lives on a set that "
        "weighted particles never hit; pass a small one, such as 1 % of the spread of the data.",
    )
    return Likelihood(operator, observation.reshape(-1), noise)


OR_MODEL = (
    "; the target of a corrector becomes a model by target.feynman_kac(), and an observation becomes part of it by "
    'fkdiff.correctors.tilt(target, log_likelihood, on="clean")'
)


def _by_weights(model: Model, solver: Any, likelihood: Likelihood, proposal: str | None) -> Rewarded:
    require(
        solver is None and proposal is None,
        f"solver={solver!r} and proposal={proposal!r} guide a solver's Gaussian steps, and a {type(model).__name__} "
        "makes its own: leave both out, so that the observation enters by the weights alone, or make it part of a "
        "corrector's target by "
        'fkdiff.correctors.tilt(target, log_likelihood, on="clean").',
    )
    return rewarded(model, likelihood)
