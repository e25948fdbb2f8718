"""What a network is told beside x: how noisy it is, and what it is an example of."""

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
    """Time and condition in one vector: `(t, cond) -> (width,)`.

    The class table has `num_classes + 1` rows; the last one means "no class", and is what cond=None reads. A
    label outside the table gives NaN, never another class. A network of `cond_size` numbers reads a vector instead; one
    that holds NaN means "no condition", as cond=None does.

    Args:
        width: Length of the vector.
        num_classes: Number of classes; 0 for a network that takes none.
        cond_size: Length of a continuous condition, of order one; 0 for a network that takes none.
        rngs: Random streams that draw the initial parameters.
    """

    def __init__(self, width: int, num_classes: int, cond_size: int = 0, *, rngs: nnx.Rngs):
        require(
            not (num_classes and cond_size),
            f"num_classes={num_classes} and cond_size={cond_size}: a network is told a class or a vector and not both.",
        )
        self.num_classes, self.cond_size = num_classes, cond_size
        self.first = dense(2 * _FREQUENCIES.size, width, rngs=rngs)
        self.second = dense(width, width, rngs=rngs)
        if num_classes:
            self.table = nnx.Param(standard_normal(rngs.params(), (num_classes + 1, width)))
        if cond_size:
            self.read = dense(cond_size, width, rngs=rngs)
            self.absent = nnx.Param(standard_normal(rngs.params(), (width,)))

    def __call__(self, t: Array, cond: PyTree) -> Array:
        # Features in the time's own precision: rounded to a half one, they could not tell noise levels apart.
        features = time_features(t).astype(self.first.kernel[...].dtype)
        hidden = self.second(nnx.silu(self.first(features)))
        if self.cond_size:
            hidden = hidden + self._told(cond, hidden.dtype)
        elif self.num_classes:
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

    def _told(self, cond: PyTree, dtype) -> Array:
        """The embedding of a continuous condition."""
        if cond is None:
            return self.absent[...]
        vector = jnp.asarray(cond, dtype)
        require(
            vector.shape == (self.cond_size,),
            f"cond has shape {vector.shape} and this network reads ({self.cond_size},): vmap over examples instead.",
        )
        missing = jnp.any(jnp.isnan(vector))
        return jnp.where(missing, self.absent[...], self.read(jnp.where(missing, 0, vector)))
