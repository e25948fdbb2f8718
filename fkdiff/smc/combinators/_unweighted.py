"""A model without its weights: what people run, for comparison."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from fkdiff.smc import arguments
from fkdiff.smc.model import Model
from fkdiff.smc.wrapped import Wrapped


class Unweighted(Wrapped):
    """See `unweighted`."""

    inner: Model

    def within(self, inner: Model) -> Unweighted:
        return dataclasses.replace(self, inner=inner)

    def initial(self, key, num_particles, t):
        particles, log_weights, info = self.inner.initial(key, num_particles, t)
        return particles, jnp.zeros_like(log_weights), info._replace(log_constant=0.0)

    def move(self, key, particles, log_weights, t0, t1):
        particles, increments, info = self.inner.move(key, particles, log_weights, t0, t1)
        return particles, jnp.zeros_like(increments), info._replace(log_constant=0.0)

    def increment(self, previous, particle, recorded, t0, t1):
        return jnp.zeros_like(self.inner.increment(previous, particle, recorded, t0, t1))

    def final(self, particles, t):
        return jnp.zeros_like(self.inner.final(particles, t))

    def settle(self, particles, log_weights, answers, t, last):
        particles, increments = self.inner.settle(particles, log_weights, answers, t, last)
        return particles, jnp.zeros_like(increments)


def unweighted(model: Model) -> Unweighted:
    """The moves of a model alone: every log G is 0.

    Of `fkdiff.inverse(proposal="dps")` it is diffusion posterior sampling, of "pigdm" pseudo-inverse guidance, as these
    are run in practice, up to their step sizes. Its law is a bias of the number of steps, and log Z is 0 by definition.

    Args:
        model: Any `Model`.

    References: Chung et al. (2023), algorithm 1; Song et al. (2023), algorithm 1.
    """
    return Unweighted(arguments.check_model(model, host=True))
