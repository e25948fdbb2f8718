"""Which examples a step sees: a pure function of the key and the step."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from fkdiff.core import Array, Key, require
from fkdiff.train.data.dataset import Dataset

_LARGEST_SHUFFLE = 1 << 13


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


class Batches:
    """Batches of a data set: gathered on the device, or from a file where the data stay on disk.

    With several devices every batch is cut along its first axis, and each device holds one piece.

    Args:
        data: The training set.
        key: Orders it.
        batch_size: Examples of a batch, over all devices.

    Attributes:
        count: Examples to train on.
        batch_size: As given.
        shared: Places a batch: each device holds one piece.
        whole: Places what every device holds all of.
    """

    def __init__(self, data: Dataset, key: Key, batch_size: int):
        count, devices = len(data.examples), jax.local_device_count()
        require(
            batch_size <= count,
            f"optim.batch_size={batch_size} is larger than the {count} training examples; use at most {count}.",
        )
        require(
            batch_size % devices == 0,
            f"optim.batch_size={batch_size} cannot be shared by {devices} devices; use a multiple of {devices}.",
        )
        self.count, self.batch_size = count, batch_size
        self._key, self._labels = key, np.asarray(data.labels)
        self._rows = jax.jit(lambda key, step: batch_indices(key, step, count, batch_size))
        mesh = jax.make_mesh((devices,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
        self.shared, self.whole = NamedSharding(mesh, PartitionSpec("batch")), NamedSharding(mesh, PartitionSpec())
        self._resident: Any = None
        if isinstance(data.examples, np.ndarray | jax.Array):
            self._resident = jax.device_put(tuple(map(jnp.asarray, data)), self.whole)
            self._take = jax.jit(lambda data, rows: jax.tree.map(lambda part: part[rows], data))
        else:
            self._stored = data.examples

    def at(self, step: int) -> Dataset:
        """The batch of one step, on the devices."""
        rows = self._rows(self._key, jnp.int32(step))
        if self._resident is not None:
            batch = self._take(self._resident, rows)
        else:
            chosen = np.asarray(rows)
            batch = (self._stored[chosen], self._labels[chosen])
        return Dataset(*jax.device_put(batch, self.shared))
