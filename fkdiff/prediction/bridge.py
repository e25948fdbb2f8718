"""What a network says on a two-sided interpolant: where the pair is heading, and the latent noise."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp

from fkdiff.core import Array, PyTree, Scalar, require
from fkdiff.paths.interpolants import Interpolant
from fkdiff.prediction.predictor import Prediction, Predictor


class Bridge(eqx.Module):
    """Reads `apply(params, x, t, cond) -> (2, …)`, E[ȧ start + ḃ clean | x_t] and E[noise | x_t], as a `Predictor`.

    Both are bounded up to the ends, unlike the velocity b = drift + γ̇ noise and the score −noise/γ that they give.

    Attributes:
        path: The interpolant.

    References:
        Albergo, Boffi and Vanden-Eijnden (2023), theorem 2.8 and eq. 2.20.
    """

    path: Interpolant

    def target(self, start: Array, clean: Array, noise: Array, t: Scalar) -> Array:
        """What the network should output for this pair, noise and time: (ȧ start + ḃ clean, noise), (2, …)."""
        rates = self.path.mix_rates(t)
        return jnp.stack([rates.start * start + rates.clean * clean, noise])

    def prediction(self, out: Array, x: Array, t: Scalar) -> Prediction:
        """The four views of an output; `clean` is E[clean | x_t]."""
        drift, noise = out
        a, b, gamma = self.path.mix(t)
        rates = self.path.mix_rates(t)
        # From a start + b clean = x − γ noise and ȧ start + ḃ clean = drift.
        clean = (a * drift - rates.start * (x - gamma * noise)) / (a * rates.clean - b * rates.start)
        return Prediction(clean, noise, drift + rates.noise * noise, -noise / gamma)

    def predictor(
        self, apply: Callable[..., Array], params: PyTree, shape: tuple[int, ...], cond: PyTree = None
    ) -> Predictor:
        """Wraps a network, for ONE example of shape `shape`; its output has shape (2, *shape)."""
        pred = Predictor(self.path, BridgeRule(self, apply, params), tuple(shape))
        return pred if cond is None else pred.given(cond)


class BridgeRule(eqx.Module):
    """A network's output read through a `Bridge`."""

    form: Bridge
    apply: Callable[..., Array] = eqx.field(static=True)
    params: PyTree

    def __call__(self, x: Array, t: Array, cond: PyTree) -> Prediction:
        out = jnp.asarray(self.apply(self.params, x, t, cond))
        require(
            out.shape == (2, *x.shape),
            f"the model returned shape {out.shape} for one example of shape {x.shape}; a bridge needs (2, *{x.shape}): "
            "the drift and the noise.",
        )
        return self.form.prediction(out.astype(x.dtype), x, t)
