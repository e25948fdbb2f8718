"""How a population moves at one temperature: a number of kernel steps, given, tuned, frozen or waste-free."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import (
    Array,
    Kernel,
    Key,
    LogDensity,
    PyTree,
    acceptance_of,
    chunked_vmap,
    particle_keys,
    require,
    widened,
)
from fkdiff.smc.samplers.tuning import Setting, Tuned, adapted, flat, inverse_mass, squared_jump


class Moved(NamedTuple):
    """A population after its moves.

    Attributes:
        states: Kernel states, leading axis N.
        acceptance: Mean acceptance probability.
        step_size: To go on with; 0 where nothing is tuned.
        moves: Kernel steps per particle.
        evaluations: Of the density per particle.
        inverse_mass: What was used; empty where nothing is tuned.
    """

    states: Any
    acceptance: Array
    step_size: Array
    moves: Array
    evaluations: Array
    inverse_mass: Array


class Moves(eqx.Module):
    """A population's moves at one temperature.

    Attributes:
        move: `move(log_density) -> Kernel`, a `Tuned`, or a `Frozen`.
        num_moves: Kernel steps, where the move does not say itself.
        waste_free: Positions kept of every chain, or None.
    """

    move: Any
    num_moves: int = eqx.field(static=True)
    waste_free: int | None = eqx.field(static=True)

    @property
    def tuned(self) -> bool:
        """Whether step sizes, masses and numbers of moves are chosen from the population."""
        return isinstance(self.move, Tuned)

    @property
    def first_step(self) -> Array:
        """The step size to begin with."""
        return self.move.step_size if self.tuned else jnp.zeros(())

    def check_count(self, num_particles: int) -> None:
        """Blocks must come out even."""
        block = self.waste_free
        require(
            block is None or num_particles % block == 0,
            f"num_particles={num_particles} is not a multiple of waste_free={block}; use "
            f"{num_particles - num_particles % (block or 1) or block}.",
        )

    def setting(self, positions: PyTree, log_weights: Array, step_size: Array, now: Array | None = None):
        """What the kernel is made with at this temperature; None where nothing is tuned."""
        if self.tuned:
            return Setting(step_size, inverse_mass(positions, log_weights, self.move.mass))
        return self.move.setting(now) if isinstance(self.move, Frozen) else None

    def kernel(self, density: LogDensity, setting: Setting | None) -> Kernel:
        """The kernel for one density."""
        if setting is None:
            return self.move(density)
        return self.move.make(density, setting.step_size, setting.inverse_mass)

    def __call__(
        self, key: Key, kernel_at: Callable[[Any], Kernel], states: Any, setting: Any, chunk: int | None
    ) -> Moved:
        """Moves every particle with keys of its own."""
        if self.waste_free is not None:
            return self._wasting_nothing(key, kernel_at, states, setting, chunk)
        if self.tuned:
            return self._until_far(key, kernel_at, states, setting, chunk)
        return self._counted(key, kernel_at, states, setting, chunk)

    def _counted(self, key, kernel_at, states, setting, chunk) -> Moved:
        kernel = kernel_at(setting)
        count = self.move.moves_of(setting) if isinstance(self.move, Frozen) else self.num_moves

        def body(number, carry):
            states, total = carry
            states, acceptance, _ = advance(kernel, jax.random.fold_in(key, number), states, chunk)
            return states, total + acceptance

        zero = jnp.zeros((), jnp.result_type(float))
        if isinstance(count, int):  # a scan, which reverse mode can go through
            (states, total), _ = jax.lax.scan(
                lambda carry, i: (body(i, carry), None), (states, zero), jnp.arange(count)
            )
        else:
            states, total = jax.lax.fori_loop(0, count, body, (states, zero))
        return _moved(states, total, setting, jnp.asarray(count, jnp.int32), kernel.evaluations)

    def _until_far(self, key, kernel_at, states, setting, chunk) -> Moved:
        """Until the mean squared jump reaches its target; the step size follows the acceptance on the way."""
        tuned: Tuned = self.move
        before = flat(states.position)

        def near(carry):
            states, setting, _, number = carry
            far = squared_jump(before, states.position, setting) >= tuned.jump.astype(before.dtype)
            return (number < tuned.max_moves) & ~(far & (number > 0))

        def body(carry):
            states, setting, total, number = carry
            kernel = kernel_at(setting)
            states, acceptance, _ = advance(kernel, jax.random.fold_in(key, number), states, chunk)
            return states, adapted(setting, acceptance, tuned.acceptance), total + acceptance, number + 1

        start = states, setting, jnp.zeros((), jnp.result_type(float)), jnp.int32(0)
        states, setting, total, number = jax.lax.while_loop(near, body, start)
        return _moved(states, total, setting, number, kernel_at(setting).evaluations)

    def _wasting_nothing(self, key, kernel_at, states, setting, chunk) -> Moved:
        """Of every block of copies the first starts a chain, whose states take the places of the others."""
        kernel, block = kernel_at(setting), self.waste_free or 1
        roots = jax.tree.map(lambda leaf: leaf[::block], states)

        def one(states, number):
            step_key = jax.random.fold_in(key, number)
            states, acceptance, _ = advance(kernel, step_key, states, chunk)
            return states, (states, acceptance)

        steps = jnp.arange(block - 1)
        _, (chain, acceptances) = jax.lax.scan(one, roots, steps)
        joined = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), roots, chain)
        # (P, N/P, …) to (N, …), a block after a block, as the resampler lays out its copies.
        states = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1).reshape(-1, *leaf.shape[2:]), joined)
        made = jnp.ones((), jnp.int32)  # (P − 1)/P steps per particle, counted as one
        moved = _moved(states, jnp.mean(acceptances), setting, made, kernel.evaluations)
        if not self.tuned:
            return moved
        return moved._replace(step_size=adapted(setting, moved.acceptance, self.move.acceptance).step_size)


class Frozen(eqx.Module):
    """A tuned move as it was in one run: settings by temperature.

    Attributes:
        make: As of `Tuned`.
        temperatures: λ at which each setting was used, (K,).
        step_sizes: (K,).
        inverse_masses: (K, d) or (K, d, d).
        moves: Kernel steps, int32 (K,).
    """

    make: Callable[[LogDensity, Array, PyTree], Kernel]
    temperatures: Array
    step_sizes: Array
    inverse_masses: Array
    moves: Array

    def setting(self, now: Array | None) -> FrozenSetting:
        """That of the nearest temperature."""
        k = jnp.argmin(jnp.abs(self.temperatures - (0.0 if now is None else now)))
        return FrozenSetting(self.step_sizes[k], self.inverse_masses[k], self.moves[k])

    def moves_of(self, setting: FrozenSetting) -> Array:
        """How many kernel steps."""
        return setting.moves


class FrozenSetting(NamedTuple):
    """`Setting`, and the number of moves."""

    step_size: Array
    inverse_mass: Array
    moves: Array


def fixed_moves(move: Any, num_moves: int, waste_free: int | None) -> Moves:
    """Moves as a person asks for them."""
    require(
        waste_free is None or num_moves == 1,
        f"num_moves={num_moves} and waste_free={waste_free} both say how often to move; leave num_moves out.",
    )
    require(
        not isinstance(move, Tuned) or num_moves == 1,
        f"num_moves={num_moves} and a tuned move, which decides itself; give tuned(max_moves={num_moves}) instead.",
    )
    return Moves(move, num_moves, waste_free)


def advance(kernel: Kernel, key: Key, states: Any, chunk: int | None) -> tuple[Any, Array, Any]:
    """One step of every particle: (states, mean acceptance, infos)."""
    count = jax.tree.leaves(states)[0].shape[0]
    states, infos = chunked_vmap(kernel.step, chunk)(particle_keys(key, count), states)
    zero = jnp.zeros((), jnp.result_type(float))
    probability = acceptance_of(infos)
    return states, zero + (1.0 if probability is None else jnp.mean(widened(probability)).astype(zero.dtype)), infos


def _moved(states: Any, total: Array, setting: Any, count: Array, cost: int) -> Moved:
    step = jnp.zeros(()) if setting is None else setting.step_size
    mass = jnp.zeros((0,)) if setting is None else setting.inverse_mass
    acceptance = jnp.where(count > 0, total / jnp.maximum(count, 1).astype(total.dtype), jnp.ones_like(total))
    return Moved(states, acceptance, step, count, count * cost, mass)
