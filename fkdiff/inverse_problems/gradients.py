"""Guidance by gradients of a Gaussian twist, through the model: DPS, ΠGDM and TMPD, with exact ratios.

    log ψ(x, t) = log N(y; A x̂, noise² I + A C Aᵀ),    x̂ = E[x_K | x_t = x] by the model,

and a step N(mean, diag(s²)) shifted by s² ∇log ψ at its start, C held constant. They differ in C, the covariance of
x_K given x_t: none; that of the reference data; that of the model itself, by Tweedie's formula.

A shift is cut to at most the Polyak step, where the linearised misfit ½ rᵀ(noise² I + A C Aᵀ)⁻¹ r would be gone: with
C = 0 and little noise, a long step would overshoot by orders of magnitude. Any shift is exact.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
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
from fkdiff.steering.guidance import Guided, shifted

# push(direction) is the Jacobian of the estimate of x_K times a direction, both of the shape of one example.
Push = Callable[[Array], Array]


class Gradient(Towards):
    """A value whose gradient moves the mean of a step; one gives `twist`."""

    @abc.abstractmethod
    def twist(self, path: Path, residual: Array, t: Array, push: Push) -> tuple[Array, Array, Array]:
        """log ψ, its gradient with respect to the estimate x̂, (d,), and the misfit."""

    def start(self, key: Key, chain: Chain) -> tuple[Array, Array]:
        mean, spectrum = self.problem.start(chain.pred.path)
        xi = jax.random.normal(stream(key, Use.NOISE), mean.shape, mean.dtype)
        x = mean + self.problem.basis.color(jnp.sqrt(spectrum), xi)
        return x.reshape(chain.pred.shape), jnp.zeros((), mean.dtype)

    def look(self, key: Key | None, chain: Chain, x: Array, t: Array, memory: PyTree) -> tuple[State, Array, PyTree]:
        path = chain.pred.path

        def survey(z):
            state = chain.arrive(z, t, memory, key)
            return arrival.estimate(path, state.prediction, t), state

        estimate, push, state = jax.linearize(survey, x, has_aux=True)
        value, direction, misfit = self.twist(path, self.problem.residual(estimate), t, push)
        (slope,) = jax.linear_transpose(push, x)(direction.reshape(x.shape))
        return state, value, (slope, misfit)

    def step(
        self, key: Key, chain: Chain, particle: Guided, transition: Transition, t0: Array, t1: Array
    ) -> tuple[Array, Array]:
        slope, misfit = particle.hint
        square = jnp.sum((transition.scale * slope) ** 2)
        most = misfit / jnp.maximum(square, jnp.finfo(square.dtype).tiny)
        return shifted(stream(key, Use.NOISE), transition, jnp.minimum(1.0, most) * slope)

    def in_basis(self, residual: Array, spectrum: Array) -> tuple[Array, Array, Array]:
        """`twist` for C = Q diag(spectrum) Qᵀ."""
        problem = self.problem
        root, turned = normals.root(problem.covariance(spectrum)), problem.turned(residual)
        force = normals.solve(root, turned)
        direction = problem.pull(jnp.ones_like(spectrum), force)
        return normals.log_density(root, turned), direction, 0.5 * jnp.sum(turned * force)


class Dps(Gradient):
    """C = 0: the likelihood of the estimate. Too sure of itself early on, so its weights spread the most.

    References: Chung, Kim, McCann, Klasky and Ye (2023), eq. 10; with weights, Wu et al. (2023), eqs. 8 to 11.
    """

    problem: Problem

    jvps: ClassVar[int] = 1

    def twist(self, path: Path, residual: Array, t: Array, push: Push) -> tuple[Array, Array, Array]:
        return self.in_basis(residual, jnp.zeros_like(self.problem.basis.variance))


class Pigdm(Gradient):
    """C = that of reference data: r² I for an isotropic one, r² = w σ̃²/(ã² w + σ̃²).

    References: Song, Vahdat, Mardani and Kautz (2023), eqs. 6 to 8.
    """

    problem: Problem

    jvps: ClassVar[int] = 1

    def twist(self, path: Path, residual: Array, t: Array, push: Push) -> tuple[Array, Array, Array]:
        return self.in_basis(residual, arrival.posterior(path, self.problem.basis.variance, t)[1])


class Tmpd(Gradient):
    """C = (σ̃²/ã) ∂x̂/∂x, the model's own; A C Aᵀ is replaced by the diagonal of its row sums, A C Aᵀ 1, one jvp.

    Row sums are exact where A C Aᵀ is diagonal; negative ones are set to 0.

    References: Boys, Girolami, Pidstrigach, Reich, Mosca and Akyildiz (2024), the diagonal variant.
    """

    problem: Problem

    jvps: ClassVar[int] = 2

    def twist(self, path: Path, residual: Array, t: Array, push: Push) -> tuple[Array, Array, Array]:
        problem, operator = self.problem, self.problem.operator
        scale, noise = arrival.relative(path, t)
        ones = jnp.ones(operator.observed, residual.dtype)
        rows = operator.apply(push(operator.adjoint(ones))).reshape(-1)
        deviations = jnp.sqrt(problem.noise**2 + jnp.maximum(noise / scale * rows, 0.0))
        force = normals.solve(deviations, residual)
        direction = force @ operator.matrix
        return normals.log_density(deviations, residual), direction, 0.5 * jnp.sum(residual * force)
