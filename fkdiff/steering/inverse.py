"""Posterior sampling: x from a model, given y = A x + noise ξ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from fkdiff.core import Array, Key, Scalar, choose, concrete, expect, number, require
from fkdiff.prediction import Predictor
from fkdiff.smc import FeynmanKac
from fkdiff.solvers import Solver
from fkdiff.solvers.base import check_model, check_score, check_stochastic
from fkdiff.steering.adapted import Adapted
from fkdiff.steering.frames import frame
from fkdiff.steering.gradients import Dps, Pigdm, Tmpd
from fkdiff.steering.operators import LinearOperator
from fkdiff.steering.potentials import opened, settled
from fkdiff.steering.problem import Guidance, Guided, Problem

GUIDANCE: dict[str, Callable[[], Guidance]] = {"adapted": Adapted, "pigdm": Pigdm, "tmpd": Tmpd, "dps": Dps}


class Inverse(eqx.Module):
    """The functions of a guided model, for ONE particle: what ψ promises is paid, and settled at the end."""

    problem: Problem
    guidance: Guidance

    def initial(self, key: Key) -> tuple[Guided, Array]:
        """The start, with its twist."""
        t = self.problem.pred.path.t_min
        x, log_ratio = self.guidance.start(key, self.problem)
        state, log_twist, hint = self.guidance.look(self.problem, x, t, self.problem.solver.memory(x))
        account = opened(log_twist, jnp.ones_like(log_twist))
        return Guided(state, account, hint, log_ratio), account.increment + log_ratio

    def propose(self, key: Key, particle: Guided, t0: Array, t1: Array) -> Guided:
        """One guided step, and the twist there."""
        problem, guidance = self.problem, self.guidance
        transition, moved = problem.solver.step(problem.pred, particle.state, t0, t1)
        x, log_ratio = guidance.step(key, problem, particle, transition, t0, t1)
        state, log_twist, hint = guidance.look(problem, x, t1, moved.memory)
        return Guided(state, settled(particle.account, log_twist, log_twist), hint, log_ratio)

    def log_potential(self, previous: Guided, particle: Guided, t0: Array, t1: Array) -> Array:
        """log G_k = log ψ_k − log ψ_{k−1} + log M − log M̃."""
        return particle.account.increment + particle.log_ratio

    def log_final(self, particle: Guided) -> Array:
        """The likelihood of the position itself, less what has been paid."""
        return self.problem.log_likelihood(particle.state.x) - particle.account.paid

    def extract(self, particle: Guided) -> Array:
        """The position."""
        return particle.state.x


def inverse(
    pred: Predictor,
    solver: Solver,
    operator: LinearOperator,
    observation: Array,
    noise: Scalar,
    *,
    proposal: str = "adapted",
    reference: tuple[Any, Any] = (0.0, 1.0),
) -> FeynmanKac:
    """Draws from the posterior p_base(x) N(y; A x, noise² I)/p(y), where p_base is what the solver samples.

    The law is right at any number of steps for every proposal and reference; they move variance alone. With log G_0 =
    log ψ_0 and log G_k = log ψ_k − log ψ_{k−1} + log M_k − log M̃_k, the end pays log N(y; A x_K, noise² I) − log ψ_K.

    Args:
        pred: The model.
        solver: A stochastic solver (`ddim(eta=1)`, `euler(noise=1)`, `exponential()`).
        operator: A, from `fkdiff.steering.matrix`, `mask`, `blur` or `downsample`, on examples of the model's shape.
        observation: y, of the operator's shape `observed`; a leaf.
        noise: The standard deviation of the noise of y, in its unit, positive; a leaf. Without noise the posterior
            lives on a set that weighted particles never hit; take a small one, such as 1 % of the data's spread.
        proposal: "adapted" (`Adapted`): steps conditioned on y, exact for Gaussian data, no gradient of the model;
            "pigdm", "tmpd", "dps": shifted along the gradient of a twist, through the model.
        reference: Mean and variance of the data: (m, ς²), or (m, Σ) with Σ of flattened examples, (d, d). They stand
            for the data at the start, N(α m, α² Σ + σ² I), and in the twists of "adapted" and "pigdm": the covariance
            of a sample of the data is worth its O(m³) per step.

    Returns:
        A `FeynmanKac` model for `run_smc`, on a grid that starts at the path's t_min and should end at t_max.
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
    pred, solver = check_score(check_model(pred), "posterior sampling"), check_stochastic(solver)
    expect(
        "operator", operator, LinearOperator, "make one by fkdiff.steering.matrix(A), mask(keep), blur or downsample"
    )
    require(
        operator.shape == pred.shape,
        f"operator takes examples of shape {operator.shape} and the model makes {pred.shape}; build it with "
        f"shape={pred.shape}.",
    )
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
    guidance = choose("proposal", proposal, GUIDANCE)()
    problem = Problem(pred, solver, operator, observation.reshape(-1), noise, frame(operator, reference))
    parts = Inverse(problem, guidance)
    return FeynmanKac(
        initial=parts.initial,
        propose=parts.propose,
        log_potential=parts.log_potential,
        log_final=parts.log_final,
        extract=parts.extract,
        evaluations=solver.evaluations,
        jvps=guidance.jvps,
        time_range=(pred.path.t_min, pred.path.t_max),
    )
