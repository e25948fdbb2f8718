"""The fully adapted proposal of linear-Gaussian problems: every step is conditioned on y.

The reference says that y given the next position x' is N(A(x̂ + gain (x' − mean)), S), x̂ being the model's estimate of
x_K at the present position and mean that of the step M = N(mean, C), C = diag(s²). So M̃(x') = M(x') L(x')/Z with L
that Gaussian of y, and

    log M − log M̃ = log Z − log L(x'),    Z = N(y; A x̂, S + A gain C gainᵀ Aᵀ):

two densities of y, none of x'. The start is drawn in the same way. Where the data are the reference, and model and
solver exact, the next log ψ + log M − log M̃ is the present log ψ: no weight moves, the evidence has no variance.
"""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, PyTree, Transition
from fkdiff.core.keys import Use, stream
from fkdiff.inverse_problems import arrival, normals
from fkdiff.inverse_problems.problem import Problem
from fkdiff.inverse_problems.towards import Towards
from fkdiff.paths import Path
from fkdiff.solvers import State
from fkdiff.steering._chain import Chain
from fkdiff.steering.guidance import Guided


class Adapted(Towards):
    """Gaussian conditioning by Matheron's rule; the value is that of `Pigdm`. No gradient of the model is taken.

    References: Pitt and Shephard (1999) for full adaption; Cardoso, Janati, Le Corff and Moulines (2024) for guided
    steps in the singular basis; Doucet (2010) for the rule.
    """

    problem: Problem

    jvps: ClassVar[int] = 0

    def start(self, key: Key, chain: Chain) -> tuple[Array, Array]:
        path, shape = chain.pred.path, chain.pred.shape
        mean, spectrum = self.problem.start(path)
        center = path.alpha(path.t_max) * self.problem.basis.mean
        shift, log_ratio = conditioned(key, self.problem, path, center.reshape(shape), spectrum, path.t_min)
        return (mean + shift).reshape(shape), log_ratio

    def look(self, key: Key | None, chain: Chain, x: Array, t: Array, memory: PyTree) -> tuple[State, Array, PyTree]:
        problem, path = self.problem, chain.pred.path
        state = chain.arrive(x, t, memory, key)
        residual = problem.residual(arrival.estimate(path, state.prediction, t))
        spread = arrival.posterior(path, problem.basis.variance, t)[1]
        root = normals.root(problem.covariance(spread))
        return state, normals.log_density(root, problem.turned(residual)), ()

    def step(
        self, key: Key, chain: Chain, particle: Guided, transition: Transition, t0: Array, t1: Array
    ) -> tuple[Array, Array]:
        (mean, scale), path = transition, chain.pred.path
        estimate = arrival.estimate(path, particle.state.prediction, t0)
        square, each = scale**2, jnp.ndim(scale) > 0
        square = square.reshape(-1) if each else square
        shift, log_ratio = conditioned(key, self.problem, path, estimate, square, t1, by_coordinate=each)
        return mean + shift.reshape(mean.shape), log_ratio


def conditioned(
    key: Key, problem: Problem, path: Path, estimate: Array, spectrum: Array, t: Array, by_coordinate: bool = False
) -> tuple[Array, Array]:
    """A draw u of N(0, C) given y ~ N(A(estimate + gain u), S), and log Z − log L(u).

    C is Q diag(spectrum) Qᵀ in the basis, or diag(spectrum) in the coordinates of x.

    With noise η ~ N(0, S) and a free draw u₀, u = u₀ + K (y − A(estimate + gain u₀) − η), K the Kalman gain.

    Args:
        key: Draws u₀ and η.
        problem: y, A and the basis.
        path: Of the model.
        estimate: Of x_K at u = 0, the shape of one example.
        spectrum: () or (d,).
        t: The time of the new position.
        by_coordinate: Whether the spectrum belongs to the coordinates of x; (d,) then.
    """
    basis = problem.basis
    gain, spread = arrival.posterior(path, basis.variance, t)
    alone = normals.root(problem.covariance(spread))
    residual = problem.turned(problem.residual(estimate))
    free = jax.random.normal(stream(key, Use.NOISE), basis.mean.shape, basis.mean.dtype)
    if by_coordinate:
        total = normals.root(problem.widened(spread, gain, spectrum))
        free = jnp.sqrt(spectrum) * free
    else:
        total = normals.root(problem.covariance(spread + gain**2 * spectrum))
        free = basis.color(jnp.sqrt(spectrum), free)
    eta = normals.color(alone, jax.random.normal(stream(key, Use.PROBE), residual.shape, residual.dtype))
    surprise = residual - problem.push(gain, free) - eta
    force = normals.solve(total, surprise)
    u = free + (spectrum * problem.pull(gain, force) if by_coordinate else problem.pull(spectrum * gain, force))
    left = residual - problem.push(gain, u)
    return u, normals.log_density(total, residual) - normals.log_density(alone, left)
