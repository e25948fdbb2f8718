"""Four laws in the plane."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, Key, categorical, choose
from fkdiff.core.choices import COMPONENTS
from fkdiff.core.keys import Use, seed_key, stream
from fkdiff.train.data.dataset import Dataset

HELD_OUT = 1000


def _checkerboard(key: Key, n: int) -> tuple[Array, Array]:
    """Uniform on the black squares of a 4 × 4 board over [−2, 2]²."""
    key_cell, key_inside = jax.random.split(key)
    cell = jax.random.randint(key_cell, (n,), 0, 8)
    row = cell // 2
    column = 2 * (cell % 2) + row % 2
    corner = jnp.stack([column, row], axis=1).astype(jnp.float32) - 2
    return (corner + jax.random.uniform(key_inside, (n, 2))) / 1.15, jnp.zeros(n, jnp.int32)


def _moons(key: Key, n: int) -> tuple[Array, Array]:
    """Two interleaved half circles with noise 0.08; the class is the half."""
    key_angle, key_noise = jax.random.split(key)
    label = jnp.arange(n, dtype=jnp.int32) % 2
    angle = jnp.pi * jax.random.uniform(key_angle, (n,))
    sign = 1.0 - 2.0 * label.astype(jnp.float32)
    x = jnp.stack([jnp.cos(angle) * sign - 0.5 * sign, jnp.sin(angle) * sign - 0.25 * sign], axis=1)
    return (x + 0.08 * jax.random.normal(key_noise, (n, 2))) * 1.4, label


def _rings(key: Key, n: int) -> tuple[Array, Array]:
    """Three concentric circles with noise 0.06; the class is the circle."""
    key_angle, key_noise = jax.random.split(key)
    label = jnp.arange(n, dtype=jnp.int32) % 3
    angle = 2 * jnp.pi * jax.random.uniform(key_angle, (n,))
    radius = 0.6 * (1.0 + label.astype(jnp.float32))
    x = radius[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    return x + 0.06 * jax.random.normal(key_noise, (n, 2)), label


def _gaussians(key: Key, n: int) -> tuple[Array, Array]:
    """Eight Gaussians of deviation 0.12 on a circle, of unequal weights ∝ 1 … 8; the class is the Gaussian."""
    key_label, key_noise = jax.random.split(key)
    label = categorical(key_label, jnp.log(jnp.arange(1.0, 9.0)), COMPONENTS, (n,))
    angle = label.astype(jnp.float32) * (jnp.pi / 4)
    centre = 1.4 * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    return centre + 0.12 * jax.random.normal(key_noise, (n, 2)), label


_TOYS = {"checkerboard": _checkerboard, "moons": _moons, "rings": _rings, "gaussians": _gaussians}


def toy2d(key: Key, name: str, num_points: int) -> Dataset:
    """Independent draws from a law in the plane.

    Args:
        key: Draws the points.
        name: "checkerboard" (no classes), "moons" (2), "rings" (3) or "gaussians" (8, unequal weights).
        num_points: Number of draws.
    """
    points, labels = jax.jit(choose("name", name, _TOYS), static_argnums=1)(key, num_points)
    return Dataset(np.asarray(points, np.float32), np.asarray(labels, np.int32))


def load(section: Any, part: str, seed: int, root: Any) -> Dataset:
    """One draw to train on, and a second one that is held out."""
    if part == "train":
        return toy2d(seed_key(seed), section.kind, section.num_points)
    return toy2d(stream(seed_key(seed), Use.DATA), section.kind, HELD_OUT)
