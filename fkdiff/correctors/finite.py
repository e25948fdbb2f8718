"""Exact weights at finite steps, for targets whose densities are known: learned energies, and exact laws.

Every move is Gaussian and so is a move back, hence the weight of a step is a ratio of four numbers and no integral:

    G = p̃_{t1}(x') L(x | x') / (p̃_{t0}(x) M(x' | x))

E Ẑ is the normaliser of p̃ at the last time for any step count, and for any energies: what an energy says between the
ends need not solve an equation. With y = (x − αm)/√v, Λ = log(α/√v), B = Σβ_i, f = √v S + B y and φ(a) = (1 −
e^{−aλ})/a:

    M:    y' = e^{−νBλ} y  + φ(νB) [(1 + ν) f(x) + ν √v ∇r]    + √(2ν φ(2νB)) ξ
    L:    y  = e^{−νBλ} y' − φ(νB) [(1 − ν) f(x') − ν √v' ∇r]  + √(2ν φ(2νB)) ξ

M is the exponential step, and L that of the same diffusion run backwards: at ν = 1 and without rewards the path's own
noising. Where the target is Gaussian of the reference's law, G is constant.

References: Del Moral, Doucet and Jasra (2006), eq. 12, for moves back; Doucet, Grathwohl, Matthews and Strathmann
(2022) and Phillips et al. (2024) for diffusions in time.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, Scalar, chunked_vmap, number, require, stream
from fkdiff.core.keys import Use
from fkdiff.correctors import reference as gaussian
from fkdiff.correctors.exponents import check_exponents, shared
from fkdiff.correctors.rate import dot, local, weighted_sum
from fkdiff.correctors.steps import phi
from fkdiff.correctors.weighted_sde import WeightedSDE
from fkdiff.smc import OneParticle


class Visited(NamedTuple):
    """A position and what both moves from it read there.

    Attributes:
        x: Position.
        score: S = Σ β_i s_i, without rewards.
        gradient: ∇r.
        log_density: log p̃ at x and the time of arrival.
    """

    x: Array
    score: Array
    gradient: Array
    log_density: Array


class FiniteSteps(OneParticle):
    """See `finite_steps`."""

    target: WeightedSDE
    noise: Array
    chunk: int | None = eqx.field(static=True, default=None, kw_only=True)

    @property
    def time_range(self) -> tuple[Array, Array]:
        """The target's."""
        return self.target.time_range

    @property
    def cost(self) -> tuple[int, int]:
        """Of U and of its gradient, and one jvp per reward."""
        return 2 * len(self.target.factors), len(self.target.tilts)

    def shown(self, particle: Visited) -> Array:
        """The position."""
        return particle.x

    def estimated(self, key: Key, particle: Visited, t: Array, num: int) -> Array:
        """Tweedie's formula with the target's own score, or draws around it."""
        alpha, variance = self.target.path.alpha(t), self.target.path.sigma(t) ** 2
        clean = (particle.x + variance / jnp.sum(self.target.betas) * particle.score) / alpha
        if num == 0:
            return clean
        noise = jax.random.normal(stream(key, Use.PROBE), (num, *clean.shape), clean.dtype)
        return clean[None] + jnp.sqrt(self.target.posterior_variance(t)) * noise

    def position(self, particles: Visited) -> Array:
        return particles.x

    def replaced(self, particles: Visited, positions: Array, t: Array) -> Visited:
        """Another visit of every particle."""
        return chunked_vmap(lambda x: self.visit(x, t), self.chunk)(positions)

    def visit(self, x: Array, t: Array) -> Visited:
        """Evaluates a position. Cost: two evaluations per factor, of U and of its gradient."""
        here = local(self.target, x, t, None, "none", True)
        score = weighted_sum(self.target.betas, here.scores)
        return Visited(x, score, here.tilt.gradient, self.target.log_density(x, t))

    def draw(self, key: Key) -> tuple[Visited, Array]:
        """A draw of the Gaussian phase at t_min, and its exact weight."""
        target = self.target
        t, _ = target.time_range
        phase = gaussian.phase(target.reference, tuple(target.betas), target.paths, t)
        xi = jax.random.normal(stream(key, Use.NOISE), target.shape, phase.log_variance.dtype)
        walker = self.visit(phase.mean + jnp.exp(0.5 * phase.log_variance) * xi, t)
        log_start = -0.5 * (dot(xi, xi) + xi.size * (gaussian.LOG_2PI + phase.log_variance))
        return walker, walker.log_density - log_start

    def standardised(self, walker: Visited, t: Array) -> tuple[Array, Array, Array, Array]:
        """y, f, √v ∇r and √v."""
        alpha, law = self.target.path.alpha(t), self.target.reference
        root = self.root(t)
        y = (walker.x - alpha * law.mean) / root
        return y, root * walker.score + jnp.sum(self.target.betas) * y, root * walker.gradient, root

    def root(self, t: Array) -> Array:
        """√v."""
        path = self.target.path
        return jnp.sqrt(path.alpha(t) ** 2 * self.target.reference.variance + path.sigma(t) ** 2)

    def clock(self, t: Array) -> Array:
        """Λ = log(α/√v)."""
        return self.target.path.log_alpha(t) - jnp.log(self.root(t))

    def propose(self, key: Key, particle: Visited, t0: Array, t1: Array) -> Visited:
        """M."""
        y, f, push, _ = self.standardised(particle, t0)
        nu, total, gap = self.noise, jnp.sum(self.target.betas), self.clock(t1) - self.clock(t0)
        xi = jax.random.normal(stream(key, Use.NOISE), y.shape, y.dtype)
        y = jnp.exp(-nu * total * gap) * y + phi(nu * total, gap) * ((1 + nu) * f + nu * push)
        y = y + jnp.sqrt(2 * nu * phi(2 * nu * total, gap)) * xi
        return self.visit(self.target.path.alpha(t1) * self.target.reference.mean + self.root(t1) * y, t1)

    def log_potential(self, previous: Visited, particle: Visited, t0: Array, t1: Array) -> Array:
        """log G: the density gained, and the move back over the move made."""
        y0, f0, push0, root0 = self.standardised(previous, t0)
        y1, f1, push1, root1 = self.standardised(particle, t1)
        nu, total, gap = self.noise, jnp.sum(self.target.betas), self.clock(t1) - self.clock(t0)
        keep, step = jnp.exp(-nu * total * gap), phi(nu * total, gap)
        forth = y1 - keep * y0 - step * ((1 + nu) * f0 + nu * push0)
        back = y0 - keep * y1 + step * ((1 - nu) * f1 - nu * push1)
        variance = 2 * nu * phi(2 * nu * total, gap)
        moves = 0.5 * (dot(forth, forth) - dot(back, back)) / variance
        # Densities of x and not of y: one factor √v per coordinate.
        moves = moves + y0.size * (jnp.log(root1) - jnp.log(root0))
        return particle.log_density - previous.log_density + moves


def finite_steps(target: WeightedSDE, noise: Scalar = 1.0) -> FiniteSteps:
    """The target with weights that are exact at any number of steps.

        energy = fkdiff.Parameterization(path, "energy").predictor(apply, params, shape)
        model = fkdiff.correctors.finite_steps(fkdiff.correctors.anneal(energy, 2.0))
        out = fkdiff.run_smc(key, model, fkdiff.grid(64, path))

    `feynman_kac` is far less noisy where models solve their Fokker–Planck equation; a learned energy does not, and its
    weights then aim at no particular law. These aim at p̃ itself at the last time, e^{−βU} for the energy above.

    Args:
        target: Powers, products and tilts of models that know their densities: kind "energy", or a law of
            `fkdiff.targets`. All on one path. Rewards on "x".
        noise: ν > 0 of the moves; any is right, and 1 is the path's own. In few steps less of it gives the weights
            heavy tails.

    Returns:
        `FiniteSteps`, a model; `log_normalizer` is log ∫ p̃ at the last time, which for energies that are not
        normalised is their own integral. The grid must begin at t_min.

    Raises:
        FkdiffError: Some model has no density, paths differ, or the noise is not positive.

    Cost: two evaluations per factor and step, of U and of its gradient, and one jvp per reward.

    Gradients: pathwise in positions and weights with `resample=fkdiff.smc.never`; none through resampling.

    References: as above.
    """
    require(
        target.knows_density,
        "some model of the target has no density, which exact weights at finite steps need; train with kind "
        '"energy", or use target.feynman_kac().',
    )
    require(shared(target.paths), "finite_steps needs one path shared by all models; use target.feynman_kac().")
    check_exponents(target)
    noise = number("noise", noise, 1e-6, action="moves without noise have no density; 1 is the path's own")
    return FiniteSteps(target, noise)
