"""Random keys: `fold_in` by step, then by use, then by particle.

A particle's key depends on the step, the use and its own index, never on how many particles there are: the
same particle draws the same numbers under any chunk size, batch size or device count.
"""

from __future__ import annotations

import enum

import jax
import jax.numpy as jnp

from fkdiff.core.types import Array, Key


class Use(enum.IntEnum):
    """The registry of streams: what a key at one step is used for."""

    INITIAL = 0
    RESAMPLE = 1
    REFRESH = 2
    MOVE = 3
    PROBE = 4
    NOISE = 5
    DATA = 6
    MODEL = 7
    VALUE = 8
    SOLVER = 9


def stream(key: Key, use: Use) -> Key:
    """The sub-key of `key` for one use."""
    return jax.random.fold_in(key, int(use))


def particle_keys(key: Key, num_particles: int) -> Array:
    """One key per particle index, shape (num_particles,)."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(num_particles))


def seed_key(seed: int) -> Key:
    """A typed threefry key from an integer seed.

    Raises:
        ValueError: The seed lies outside [0, 2³²), where distinct seeds alias to one key.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed} is outside [0, 2**32), where seeds alias; choose one inside.")
    return jax.random.key(seed, impl="threefry2x32")
