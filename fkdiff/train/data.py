"""Data sets that need no network: digits in three disjoint parts, four laws in the plane, and text."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, Key, choose
from fkdiff.core.keys import Use, seed_key, stream
from fkdiff.train.text import pydoc_corpus, windows

SPLITS = {"model": (0.0, 0.6), "reward": (0.6, 0.8), "judge": (0.8, 1.0)}
_SPLIT_SEED = 20_240_229  # of the permutation that parts the digits; changing it changes every published number

DIGIT_MEAN, DIGIT_SCALE = 4.9, 6.0  # grey levels 0 … 16 to mean 0 and variance 1, by round numbers
_LARGEST_SHUFFLE = 1 << 13
_CLASSES = {"digits": 10, "checkerboard": 0, "moons": 2, "rings": 3, "gaussians": 8, "pydoc_chars": 0}
_OFFSETS = 8  # windows of training text overlap, so that a character is seen at this many places


class Dataset(NamedTuple):
    """Examples and their classes.

    Attributes:
        examples: Shape (n, ...), float32, about zero mean and unit variance; text is tokens, (n, L) int32.
        labels: Shape (n,), int32 in [0, num_classes); all 0 where there are no classes.
    """

    examples: np.ndarray
    labels: np.ndarray


def num_classes(section: Any) -> int:
    """Number of classes of a `data:` section; 0 for none."""
    return _CLASSES[section.kind]


def example_shape(config: Any) -> tuple[int, ...]:
    """Shape of one example: (64,) or (8, 8, 1) for digits, by what the network takes; (2,) for the toys; (L,)."""
    if config.is_text:
        return (config.data.length,)
    if config.data.kind == "digits":
        return (8, 8, 1) if config.model.kind == "unet" else (64,)
    return (2,)


def load_data(config: Any) -> Dataset:
    """The training set of a config, in the shape that its network takes."""
    if config.is_text:
        return _text("model", config.data.length, max(1, config.data.length // _OFFSETS))
    if config.data.kind == "digits":
        data = digits("model")
        return Dataset(data.examples.reshape(-1, *example_shape(config)), data.labels)
    return toy2d(seed_key(config.seed), config.data.kind, config.data.num_points)


def held_out(config: Any) -> Dataset:
    """Data that training never sees: the reward part of the digits, a second draw of a toy, other topics of a text."""
    if config.is_text:
        return _text("held_out", config.data.length, config.data.length)
    if config.data.kind == "digits":
        data = digits("reward")
        return Dataset(data.examples.reshape(-1, *example_shape(config)), data.labels)
    return toy2d(stream(seed_key(config.seed), Use.DATA), config.data.kind, 1000)


def _text(part: str, length: int, stride: int) -> Dataset:
    tokens = windows(pydoc_corpus().parts[part], length, stride)
    return Dataset(tokens, np.zeros(len(tokens), np.int32))


def data_facts(config: Any) -> dict[str, Any]:
    """What a checkpoint should remember of data that fkdiff does not ship: {"corpus": {...}} for text, else {}."""
    if not config.is_text:
        return {}
    corpus = pydoc_corpus()
    counts = {
        part: {"characters": len(text), "topics": len(corpus.topics[part])} for part, text in corpus.parts.items()
    }
    return {"corpus": {"name": "pydoc_data.topics", "sha256": corpus.sha256, "parts": counts}}


def digits(split: str) -> Dataset:
    """One of three disjoint, class-stratified parts of the 1797 digits of 8 × 8 pixels.

    Args:
        split: "model" (60 %, trains the generative model), "reward" (20 %, trains reward models and measures
            held-out losses) or "judge" (20 %, judges samples). The parts never change.

    Returns:
        Examples of shape (n, 64), standardised as (grey − 4.9)/6 with grey in 0 … 16; `pixels` undoes it.

    References:
        Alpaydin and Kaynak (1998), Optical recognition of handwritten digits, UCI.
    """
    from sklearn.datasets import load_digits

    first, last = choose("split", split, SPLITS)
    raw = load_digits()
    grey, labels = np.asarray(raw.data), np.asarray(raw.target)  # type: ignore[union-attr]
    rng = np.random.Generator(np.random.PCG64(_SPLIT_SEED))
    chosen = []
    for digit in range(10):
        members = rng.permutation(np.flatnonzero(labels == digit))
        chosen.append(members[round(first * members.size) : round(last * members.size)])
    rows = np.sort(np.concatenate(chosen))
    return Dataset(((grey[rows] - DIGIT_MEAN) / DIGIT_SCALE).astype(np.float32), labels[rows].astype(np.int32))


def pixels(examples: Any) -> np.ndarray:
    """Digits as grey levels in [0, 1], shape (n, 8, 8), clipped."""
    grey = np.asarray(examples, np.float32).reshape(-1, 8, 8) * DIGIT_SCALE + DIGIT_MEAN
    return np.clip(grey / 16, 0, 1)


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
    label = jax.random.categorical(key_label, jnp.log(jnp.arange(1.0, 9.0)), shape=(n,)).astype(jnp.int32)
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


def batch_indices(key: Key, step: Array, num_examples: int, batch_size: int) -> Array:
    """Rows of the batch at `step`, shape (batch_size,): a pure function of the key and the step.

    Every epoch is a fresh permutation, cut into whole batches (the remainder of fewer than `batch_size`
    examples waits for another epoch). Rows are drawn with replacement where an epoch would be shorter than a
    batch, or a permutation at every step dearer than the step.
    """
    per_epoch = num_examples // batch_size
    if per_epoch == 0 or num_examples > _LARGEST_SHUFFLE:
        return jax.random.randint(jax.random.fold_in(key, step), (batch_size,), 0, num_examples)
    order = jax.random.permutation(jax.random.fold_in(key, step // per_epoch), num_examples)
    return jax.lax.dynamic_slice_in_dim(order, (step % per_epoch) * batch_size, batch_size)
