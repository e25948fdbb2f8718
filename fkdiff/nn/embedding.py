"""What a network is told beside x: how noisy it is, and which class it belongs to."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fkdiff.core import Array, PyTree, require
from fkdiff.nn.layers import dense, standard_normal

# Periods from 8 down to 1/4 of the unit of the time coordinate: fine enough to separate noise levels, coarse
# enough that ∂/∂t of the network, which steering differentiates, stays smooth.
_FREQUENCIES = 2 * np.pi * np.geomspace(1 / 8, 4, 16)


def time_features(t: Array) -> Array:
    """Cosines and sines of a scalar time coordinate of order one, shape (32,)."""
    angles = t * jnp.asarray(_FREQUENCIES, t.dtype)
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)])


class Conditioning(nnx.Module):
    """Time and class in one vector: `(t, cond) -> (width,)`.

    The class table has `num_classes + 1` rows; the last one means "no class", and is what cond=None reads. A
    label outside the table gives NaN, never another class.

    Args:
        width: Length of the vector.
        num_classes: Number of classes; 0 for a network that takes none.
        rngs: Random streams that draw the initial parameters.
    """

    def __init__(self, width: int, num_classes: int, *, rngs: nnx.Rngs):
        self.num_classes = num_classes
        self.first = dense(2 * _FREQUENCIES.size, width, rngs=rngs)
        self.second = dense(width, width, rngs=rngs)
        if num_classes:
            self.table = nnx.Param(standard_normal(rngs.params(), (num_classes + 1, width)))

    def __call__(self, t: Array, cond: PyTree) -> Array:
        hidden = self.second(nnx.silu(self.first(time_features(t))))
        if self.num_classes:
            label = jnp.asarray(self.num_classes if cond is None else cond, jnp.int32)
            require(
                label.ndim == 0,
                f"cond has shape {label.shape}; a class label is ONE whole number: vmap over examples instead.",
            )
            row = jnp.where(label < 0, self.num_classes + 1, label)  # a negative index would count from the end
            hidden = hidden + self.table[...].at[row].get(mode="fill", fill_value=jnp.nan)
        else:
            require(cond is None, "this network was built with num_classes=0 and takes no cond; pass cond=None.")
        return nnx.silu(hidden)
