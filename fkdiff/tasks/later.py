"""Modules that are imported when a name of them is first used, so that a config is read without JAX and NumPy."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import numpy as np

    from fkdiff.core import keys
    from fkdiff.train import data
    from fkdiff.train import text as characters
else:
    from fkdiff.lazy import Later

    eqx, jax, jnp, np = Later("equinox"), Later("jax"), Later("jax.numpy"), Later("numpy")
    keys, data, characters = Later("fkdiff.core.keys"), Later("fkdiff.train.data"), Later("fkdiff.train.text")

__all__ = ["characters", "data", "eqx", "jax", "jnp", "keys", "np"]
