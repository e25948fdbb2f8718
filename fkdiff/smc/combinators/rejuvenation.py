"""Any Markov kernel as a move between steps, so that duplicates separate and particles settle into the law.

Let `kernel(t)` leave p̃_t invariant, p̃_t being the law of the weighted population at t. At times of moving that do not
depend on the population it changes no weight and no expectation: E[ Ẑ Σ W_i φ(x_i) ] = Γ_K(φ) for every N.

Adaptive resampling chooses its times by the population. Those that resample do not, by themselves, have law p̃_t; only
together with those that do not. A move after resamplings only then has a bias of order 1/N (like control), while
"always" moves both and has none: on a 3-state chain with N = 4 and a threshold of 1, E Ẑ/Z is 0.984 ± 0.001 for the
first and 1 within 0.001 for the second.

References: Gilks and Berzuini (2001), resample-move; Chopin (2002).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import (
    Array,
    Kernel,
    Key,
    PyTree,
    Scalar,
    choose,
    chunk_size,
    chunked_vmap,
    expect,
    particle_keys,
    require,
    stream,
    whole,
)
from fkdiff.core.keys import Use
from fkdiff.smc import arguments
from fkdiff.smc.model import Model, count_of
from fkdiff.smc.wrapped import Wrapped

Lens = tuple[Callable[[PyTree], PyTree], Callable[[PyTree, PyTree], PyTree]]


class Rejuvenated(Wrapped):
    """A model with moves of a Markov kernel; everything else is the model's own.

    Attributes:
        inner: What was given.
        kernel: `kernel(t) -> Kernel` for one position.
        where: (get, put) between a particle and its position, or None for the model's own positions.
        num_moves: Steps of the kernel at a time.
        when: "resampled" or "always".
        cost: (evaluations, jvps) of one step.
        chunk: Particles per call.
    """

    inner: Model
    kernel: Callable[[Scalar], Kernel]
    where: Lens | None
    num_moves: int = eqx.field(static=True)
    when: str = eqx.field(static=True)
    cost: tuple[int, int] = eqx.field(static=True)
    chunk: int | None = eqx.field(static=True)

    def within(self, inner: Model) -> Rejuvenated:
        return dataclasses.replace(self, inner=inner)

    def chunked(self, chunk):
        return dataclasses.replace(self, inner=self.inner.chunked(chunk), chunk=chunk)

    def move(self, key, particles, log_weights, t0, t1):
        """The model's own move, after those of the kernel if they are always made."""
        if self.when == "resampled":
            return self.inner.move(key, particles, log_weights, t0, t1)
        particles = self.moved(stream(key, Use.REFRESH), particles, t0)
        particles, increments, info = self.inner.move(key, particles, log_weights, t0, t1)
        evaluations, jvps = self._cost_of_moves
        return particles, increments, info._replace(evaluations=info.evaluations + evaluations, jvps=info.jvps + jvps)

    @property
    def recounts(self) -> bool:
        """A kernel moved the particle between its record and its move, so that the record alone knows the increment."""
        return False

    def increment(self, previous, particle, recorded, t0, t1):
        return Model.increment(self, previous, particle, recorded, t0, t1)

    def refresh(self, key, particles, t):
        """The moves, in place of the model's own, where they follow a resampling."""
        return self.moved(key, particles, t) if self.when == "resampled" else particles

    @property
    def refresh_cost(self) -> tuple[int, int]:
        """(evaluations, jvps) per particle of what follows a resampling."""
        return self._cost_of_moves if self.when == "resampled" else (0, 0)

    @property
    def _cost_of_moves(self) -> tuple[int, int]:
        """The start of the kernel counts as one more step."""
        evaluations, jvps = self.cost
        return (self.num_moves + 1) * evaluations, (self.num_moves + 1) * jvps

    def moved(self, key: Key, particles: PyTree, t: Array) -> PyTree:
        """`num_moves` steps of `kernel(t)` at every particle, each with a key of its own."""
        kernel = self.kernel(t)
        expect("kernel(t)", kernel, Kernel, "return fkdiff.Kernel(init, step), such as those of fkdiff.mcmc")

        def one(particle_key, position):
            first = kernel.init(jax.random.fold_in(particle_key, 0), position)

            def step(state, number):
                return kernel.step(jax.random.fold_in(particle_key, number), state)[0], None

            last, _ = jax.lax.scan(step, first, jnp.arange(1, self.num_moves + 1))
            return last.position

        keys = particle_keys(key, count_of(particles))
        if self.where is None:
            positions = chunked_vmap(one, self.chunk)(keys, self.inner.position(particles))
            moved = self.inner.replaced(particles, positions, t)
        else:
            get, put = self.where
            positions = chunked_vmap(lambda k, particle: one(k, get(particle)), self.chunk)(keys, particles)
            moved = chunked_vmap(put, self.chunk)(particles, positions)
        arguments.check_moved(particles, moved)
        return moved


def rejuvenated(
    model: Model,
    kernel: Callable[[Scalar], Kernel],
    *,
    num_moves: int = 1,
    where: Lens | None = None,
    when: str = "resampled",
    cost: tuple[int, int] = (0, 0),
    chunk: int | None = None,
) -> Rejuvenated:
    """`model` with `num_moves` steps of `kernel(t)`, which must leave p̃_t invariant, after every resampling or always.

    The kernel acts on one particle at a time, with its own acceptance. It takes the place of a refresh that the model
    has of its own (a corrector's Langevin moves): two would cost twice, and the corrector's is approximate where a
    density is unknown.

    Args:
        model: Any `Model`, such as `target.feynman_kac()`. Around a rewarded one the kernel moves the inner particle
            and leaves the cumulative potential as it is, which is exact: rewarding a rejuvenated model is the same.
        kernel: `kernel(t) -> Kernel`, invariant for the law of the weighted population at t: for a corrector the one
            made from `lambda x: target.log_density(x, t)`. It is asked at t0 of the step.
        num_moves: Steps of the kernel at a time.
        where: (get, put): `get(particle) -> position`, `put(particle, position) -> particle`. Needed where a particle
            is more than one array and the model cannot replace positions itself. `put` must compute anew what the
            particle knows about its position, and leave a cumulative potential (of `fkdiff.smc.rewarded`) as it is.
        when: "resampled" moves after resamplings only: cheap, and exact where the times of resampling are fixed in
            advance (`systematic` or `within(systematic, ...)` without `adaptive`); else log Z has a bias of order 1/N.
            "always" moves before every step, resampled or not: exact for every N and every rule.
        cost: (evaluations, jvps) of one step of the kernel, for the cost in `info`.
        chunk: Particles per call.

    Returns:
        `Rejuvenated`, a model for every driver and combinator.

    Raises:
        FkdiffError: An argument is wrong; inside a run, a particle of several arrays without `where`.

    Gradients: those of the kernel; through an acceptance they are biased.

    References: Gilks and Berzuini (2001); Del Moral, Doucet and Jasra (2006), section 3.3.
    """
    model = arguments.check_model(model, host=True)
    chunk = chunk_size(chunk)
    require(
        not isinstance(kernel, Kernel),
        "kernel is a Kernel, made for one law, and the law changes with the time; pass a function: lambda t: kernel.",
    )
    require(callable(kernel), f"kernel={kernel!r} is not a function of the time; pass kernel(t) -> fkdiff.Kernel.")
    num_moves = whole("num_moves", num_moves, 1, "the steps at a time; without any, run the model itself")
    choose("when", when, dict.fromkeys(("resampled", "always")))
    require(
        where is None or (isinstance(where, tuple) and len(where) == 2 and all(callable(part) for part in where)),
        f"where={where!r} is not a pair of functions; pass where=(get, put).",
    )
    require(
        isinstance(cost, tuple) and len(cost) == 2,
        f"cost={cost!r} is not a pair; pass cost=(evaluations, jvps) of one step of the kernel.",
    )
    cost = (whole("cost[0]", cost[0], 0), whole("cost[1]", cost[1], 0))
    return Rejuvenated(model, kernel, where, num_moves, when, cost, chunk)
