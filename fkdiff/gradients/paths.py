"""Fisher's identity for a model in time: every particle carries the score of its own past.

    ∂ log Z = E[ Σ_k ∂_θ log(M_k G_k)(x_{k−1}, x_k) ]

over trajectories from Γ_K/Z, of which SMC's ancestral lines are draws. The score is a running sum, so it rides in the
particle and is resampled with it.

References: Doucet, Godsill and Andrieu (2000); Poyiadjis, Doucet and Singh (2011), eq. 10, whose variance grows as K².
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, FkdiffError, Key, PyTree, expect, require
from fkdiff.core.density import checked
from fkdiff.smc import OneParticle


class Line(NamedTuple):
    """A particle and what its past says of the parameters.

    Attributes:
        particle: Of the model.
        score: ∂_θ log(M_0 G_0 … M_k G_k) along its ancestral line, a pytree like the parameters.
    """

    particle: Any
    score: PyTree


class AlongPaths(OneParticle):
    """See `along_paths`.

    Attributes:
        build: `build(params) -> model`.
        params: θ.
        log_initial: log(M_0 G_0), or None.
        log_transition: log M_k, or None.
    """

    build: Callable[[PyTree], Any]
    params: PyTree
    log_initial: Any
    log_transition: Any
    chunk: int | None = eqx.field(static=True, default=None, kw_only=True)

    @property
    def model(self) -> OneParticle:
        """At these parameters."""
        return self.build(self.params)

    @property
    def time_range(self) -> tuple[Array, Array] | None:
        return self.model.time_range

    @property
    def cost(self) -> tuple[int, int]:
        return self.model.cost

    def draw(self, key: Key):
        """A first particle and its score."""
        particle, log_g0 = self.model.draw(key)
        if self.log_initial is None:
            _independent(lambda p: self.build(p).draw(key), self.params, "initial", "log_initial(particle, params)")
            return Line(particle, jax.tree.map(jnp.zeros_like, self.params)), log_g0
        return Line(particle, self._slope(lambda p: self.log_initial(particle, p))), log_g0

    def propose(self, key: Key, particle: Line, t0: Array, t1: Array) -> Line:
        """The model's move; the score grows by ∂ log(M G)."""
        before = particle.particle
        after = self.model.propose(key, before, t0, t1)
        if self.log_transition is None:
            move = lambda p: self.build(p).propose(key, before, t0, t1)  # noqa: E731
            sentence = "log_transition(previous, particle, t0, t1, params)"
            _independent(move, self.params, "propose", sentence)

        def log_gained(p):
            gained = self.build(p).log_potential(before, after, t0, t1)
            if self.log_transition is None:
                return gained
            return gained + self.log_transition(before, after, t0, t1, p)

        return Line(after, jax.tree.map(jnp.add, particle.score, self._slope(log_gained)))

    def log_potential(self, previous: Line, particle: Line, t0: Array, t1: Array) -> Array:
        """The model's."""
        return self.model.log_potential(previous.particle, particle.particle, t0, t1)

    def log_final(self, particle: Line) -> Array:
        """The model's."""
        return self.model.log_final(particle.particle)

    def fault(self, particle: Line) -> Array:
        """The model's."""
        return self.model.fault(particle.particle)

    def shown(self, particle: Line) -> Line:
        """What the model shows, and the whole score, that of the final potential included."""
        last = self._slope(lambda p: self.build(p).log_final(particle.particle))
        return Line(self.model.shown(particle.particle), jax.tree.map(jnp.add, particle.score, last))

    def _slope(self, function: Callable[[PyTree], Array]) -> PyTree:
        return jax.grad(checked(function))(self.params)


def along_paths(
    build: Callable[[PyTree], OneParticle],
    params: PyTree,
    log_transition: Callable[..., Array] | None = None,
    log_initial: Callable[..., Array] | None = None,
) -> AlongPaths:
    """The same model, whose particles carry ∂_θ log(M G) of their past: for `fkdiff.gradients.log_normalizer(out)`.

        model = fkdiff.gradients.along_paths(build, theta, log_transition)
        slope = fkdiff.gradients.log_normalizer(fkdiff.run_smc(key, model, grid))

    Args:
        build: `build(params) -> model`, a `FeynmanKac` or another `OneParticle`. Its particles must be states and hold
            nothing computed from `params`, whose derivative would be missed.
        params: θ, any pytree of real arrays.
        log_transition: `log_transition(previous, particle, t0, t1, params) -> scalar`, log of the density of
            `propose`; needed where it depends on `params`.
        log_initial: `log_initial(particle, params) -> scalar`, log(M_0 G_0); needed where `initial` depends on them.

    Returns:
        A model, with particles `Line(particle, score)`.

    Raises:
        FkdiffError: `propose` or `initial` depends on the parameters and its density is missing (found when traced), or
            a parameter is not real.

    Cost: one gradient in θ of log(M G) per particle and step; the memory of one θ per particle.

    Gradients: none are taken of the sampler. The variance grows with the square of the number of steps.
    """
    require(callable(build), f"build={build!r} is not a function; pass build(params) -> FeynmanKac.")
    leaves = jax.tree.leaves(params)
    require(
        len(leaves) > 0 and all(jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves),
        f"params={params!r} must be a pytree of real numbers, to be differentiated by.",
    )
    params = jax.tree.map(jnp.asarray, params)
    model = build(params)
    expect("build(params)", model, OneParticle, "build one for ONE particle, such as a FeynmanKac")
    return AlongPaths(build, params, log_initial, log_transition)


def _independent(function: Callable, params: PyTree, name: str, needed: str) -> None:
    """Refuses a function of the parameters whose answer depends on them: their derivative would be dropped."""
    if _depends(function, params):
        raise FkdiffError(
            f"{name} depends on params, and the density of what it draws is missing: pass {needed}, or let {name} not "
            "depend on them."
        )


def _depends(function: Callable, params: PyTree) -> bool:
    """Whether any output is computed from any parameter, by reachability in the traced program."""
    program = jax.make_jaxpr(function)(params).jaxpr
    reached = set(map(id, program.invars))
    for equation in program.eqns:
        if any(id(variable) in reached for variable in equation.invars):
            reached |= set(map(id, equation.outvars))
    return any(id(variable) in reached for variable in program.outvars)
