"""Neal's funnel: a scale that is itself random, so that no one step size fits."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, one_key, whole

LOG_2PI = 1.8378770664093453


class Funnel(eqx.Module):
    """v ~ N(0, 3²), x_i | v ~ N(0, e^v): see `funnel`.

    Attributes:
        dim: d, with v first.
    """

    dim: int = eqx.field(static=True)

    def log_prob(self, x: Array) -> Array:
        """Normalised log-density at one point, (d,) -> scalar: log Z = 0."""
        v, rest = x[0], x[1:]
        wide = -0.5 * (v**2 / 9 + jnp.log(9.0).astype(x.dtype) + LOG_2PI)
        return wide - 0.5 * (jnp.sum(rest**2) * jnp.exp(-v) + (self.dim - 1) * (v + LOG_2PI))

    def sample(self, key: Key, num_samples: int) -> Array:
        """Exact independent draws, (num_samples, d)."""
        noise = jax.random.normal(one_key(key), (whole("num_samples", num_samples), self.dim))
        v = 3 * noise[:, :1]
        return jnp.concatenate([v, jnp.exp(v / 2) * noise[:, 1:]], axis=1)


def funnel(dim: int = 10) -> Funnel:
    """Neal's funnel in d dimensions, normalised.

    Facts: E v = 0, Var v = 9; E x_i = 0, Var x_i = e^{9/2} = 90.017.

    References: Neal (2003), section 8.
    """
    return Funnel(whole("dim", dim, 2, "the scale and at least one coordinate"))
