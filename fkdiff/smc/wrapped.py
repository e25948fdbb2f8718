"""`Wrapped`: a model around another one, the base of every combinator."""

from __future__ import annotations

import abc

import equinox as eqx

from fkdiff.core import PyTree
from fkdiff.smc.model import Model


class Wrapped(Model):
    """A model around another one. It forwards every hook once; a combinator overrides only what it changes.

    Attributes:
        inner: The model within.
    """

    inner: eqx.AbstractVar[Model]

    def inside(self, particles: PyTree) -> PyTree:
        """The inner model's part of the particles (or of one particle)."""
        return particles

    def around(self, inner: PyTree, particles: PyTree) -> PyTree:
        """`particles` with another inner part."""
        return inner

    @abc.abstractmethod
    def within(self, inner: Model) -> Wrapped:
        """The same combinator around another model."""

    def initial(self, key, num_particles, t):
        return self.inner.initial(key, num_particles, t)

    def move(self, key, particles, log_weights, t0, t1):
        moved, increments, info = self.inner.move(key, self.inside(particles), log_weights, t0, t1)
        return self.around(moved, particles), increments, info

    def safe_run(self, key, grid, num_particles, resample, collect, on_nan, checkpoint):
        """The inner model's own would know nothing of what is around it."""
        return

    def final(self, particles, t):
        return self.inner.final(self.inside(particles), t)

    def refresh(self, key, particles, t):
        return self.around(self.inner.refresh(key, self.inside(particles), t), particles)

    def extract(self, particles, t):
        return self.inner.extract(self.inside(particles), t)

    @property
    def time_range(self):
        return self.inner.time_range

    def progress(self, t):
        return self.inner.progress(t)

    def estimate(self, key, particles, t, num):
        return self.inner.estimate(key, self.inside(particles), t, num)

    def value(self, particles, t, last):
        return self.inner.value(self.inside(particles), t, last)

    def aimed(self, particles, share):
        return self.around(self.inner.aimed(self.inside(particles), share), particles)

    def position(self, particles):
        return self.inner.position(self.inside(particles))

    def replaced(self, particles, positions, t):
        return self.around(self.inner.replaced(self.inside(particles), positions, t), particles)

    def held(self, particles, reference):
        return self.around(self.inner.held(self.inside(particles), self.inside(reference)), particles)

    def increment(self, previous, particle, recorded, t0, t1):
        return self.inner.increment(self.inside(previous), self.inside(particle), recorded, t0, t1)

    def question(self, key, particles, t, last):
        return self.inner.question(key, self.inside(particles), t, last)

    def answer(self, question):
        return self.inner.answer(question)

    def settle(self, particles, log_weights, answers, t, last):
        inner, increments = self.inner.settle(self.inside(particles), log_weights, answers, t, last)
        return self.around(inner, particles), increments

    def record(self, key, particles, log_weights, t):
        return self.inner.record(key, self.inside(particles), log_weights, t)

    def frozen(self, pilot):
        inner = self.inner.frozen(pilot)
        return self if inner is self.inner else self.within(inner)

    def chunked(self, chunk):
        return self.within(self.inner.chunked(chunk))

    @property
    def resampler(self):
        return self.inner.resampler

    @property
    def refresh_cost(self):
        return self.inner.refresh_cost

    @property
    def estimate_cost(self):
        return self.inner.estimate_cost

    @property
    def default_potential(self):
        return self.inner.default_potential

    @property
    def independent(self):
        return self.inner.independent

    @property
    def recounts(self):
        return self.inner.recounts

    @property
    def asks_host(self):
        return self.inner.asks_host

    @property
    def fixed_start(self):
        return self.inner.fixed_start

    @property
    def transportable(self):
        return self.inner.transportable
