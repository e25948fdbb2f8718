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
from fkdiff.smc.engine import Model
from fkdiff.smc.feynman_kac import FeynmanKac, PopulationModel, lift

Lens = tuple[Callable[[PyTree], PyTree], Callable[[PyTree, PyTree], PyTree]]


class Rejuvenated(eqx.Module):
    """A population model with moves of a Markov kernel; everything else is the model's own.

    Attributes:
        model: What was given.
        kernel: `kernel(t) -> Kernel` for one position.
        where: (get, put) between a particle and its position, or None where they are the same array.
        num_moves: Steps of the kernel at a time.
        when: "resampled" or "always".
        cost: (evaluations, jvps) of one step.
        chunk: Particles per call.
    """

    model: Model
    kernel: Callable[[Scalar], Kernel]
    where: Lens | None
    num_moves: int = eqx.field(static=True)
    when: str = eqx.field(static=True)
    cost: tuple[int, int] = eqx.field(static=True)
    chunk: int | None = eqx.field(static=True)

    @property
    def population(self) -> PopulationModel:
        """The model over a whole population."""
        return lift(self.model, self.chunk if isinstance(self.model, FeynmanKac) else None)

    @property
    def fixed_start(self) -> bool:
        """Whether the first population can be drawn only at the model's first time: always, of one particle's model."""
        return isinstance(self.model, FeynmanKac) or getattr(self.model, "fixed_start", False)

    @property
    def time_range(self) -> tuple[Array, Array] | None:
        """Where the model lives in time."""
        return getattr(self.model, "time_range", None)

    def initial(self, key, num_particles, t):
        """The model's first population."""
        return self.population.initial(key, num_particles, t)

    def move(self, key, particles, log_weights, t0, t1):
        """The model's own move, after those of the kernel if they are always made."""
        if self.when == "resampled":
            return self.population.move(key, particles, log_weights, t0, t1)
        particles = self.moved(stream(key, Use.REFRESH), particles, t0)
        particles, increments, info = self.population.move(key, particles, log_weights, t0, t1)
        evaluations, jvps = self.refresh_cost
        return particles, increments, info._replace(evaluations=info.evaluations + evaluations, jvps=info.jvps + jvps)

    @property
    def final(self) -> Callable | None:
        """The model's last potential."""
        return getattr(self.population, "final", None)

    @property
    def extract(self) -> Callable | None:
        """What the model makes of its particles at the end."""
        return getattr(self.population, "extract", None)

    @property
    def refresh_cost(self) -> tuple[int, int]:
        """(evaluations, jvps) per particle of `num_moves` steps: the start of the kernel counts as one more step."""
        evaluations, jvps = self.cost
        return (self.num_moves + 1) * evaluations, (self.num_moves + 1) * jvps

    @property
    def refresh(self) -> Callable | None:
        """The moves, where the engine is to make them after a resampling."""
        return self.moved if self.when == "resampled" else None

    def moved(self, key: Key, particles: PyTree, t: Array) -> PyTree:
        """`num_moves` steps of `kernel(t)` at every particle, each with a key of its own."""
        get, put = self._lens(particles)
        kernel = self.kernel(t)
        expect("kernel(t)", kernel, Kernel, "return fkdiff.Kernel(init, step), such as those of fkdiff.mcmc")

        def one(particle_key, particle):
            first = kernel.init(jax.random.fold_in(particle_key, 0), get(particle))

            def step(state, number):
                return kernel.step(jax.random.fold_in(particle_key, number), state)[0], None

            last, _ = jax.lax.scan(step, first, jnp.arange(1, self.num_moves + 1))
            return put(particle, last.position)

        count = jax.tree.leaves(particles)[0].shape[0]
        moved = chunked_vmap(one, self.chunk)(particle_keys(key, count), particles)
        arguments.check_moved(particles, moved)
        return moved

    def _lens(self, particles: PyTree) -> Lens:
        leaves = len(jax.tree.leaves(particles))
        require(
            self.where is not None or leaves == 1,
            f"a particle of this model is a {type(particles).__name__} of {leaves} arrays, and a kernel moves a "
            "position: pass where=(get, put), with position = get(particle) and particle = put(particle, position), "
            "where put recomputes whatever depends on the position.",
        )
        return self.where or (lambda particle: particle, lambda particle, position: position)


def rejuvenated(
    model: Model,
    kernel: Callable[[Scalar], Kernel],
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
        model: A `FeynmanKac` or any population model, such as `target.feynman_kac()`.
        kernel: `kernel(t) -> Kernel`, invariant for the law of the weighted population at t: for a corrector the one
            made from `lambda x: target.log_density(x, t)`. It is asked at t0 of the step.
        num_moves: Steps of the kernel at a time.
        where: (get, put): `get(particle) -> position`, `put(particle, position) -> particle`. Needed where a particle
            is more than one array. `put` must recompute what the particle knows about its position; where the particle
            carries accounts of its past (`fkdiff.steer`), p̃_t is a law of both, and a kernel that moves one
            of them must be invariant for that law.
        when: "resampled" moves after resamplings only: cheap, and exact where the times of resampling are fixed in
            advance (`systematic` or `within(systematic, ...)` without `adaptive`); else log Z has a bias of order 1/N.
            "always" moves before every step, resampled or not: exact for every N and every rule.
        cost: (evaluations, jvps) of one step of the kernel, for the cost account.
        chunk: Particles per call.

    Returns:
        `Rejuvenated`, a population model for `run_smc` and `replicate`.

    Raises:
        FkdiffError: An argument is wrong; inside a run, a particle of several arrays without `where`.

    Gradients: those of the kernel; through an acceptance they are biased.

    References: Gilks and Berzuini (2001); Del Moral, Doucet and Jasra (2006), section 3.3.
    """
    arguments.lifted(model, None)
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
