"""Noise-predicting models on a table of ᾱ (DDPM, improved DDPM, latent diffusion)."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp

from fkdiff.core import Array, PyTree
from fkdiff.interop.outside import Outside, outside
from fkdiff.paths import from_alphas_cumprod
from fkdiff.prediction import Parameterization, Prediction, Predictor


class DdpmRule(eqx.Module):
    """Reads the model at the table's index k = K(1 − t)."""

    form: Parameterization
    model: Outside
    levels: Array  # K

    def __call__(self, x: Array, t: Array, cond: PyTree) -> Prediction:
        return self.form.prediction(self.model(x, self.levels * (1 - t), cond), x, t)


def ddpm(
    eps_fn: Callable,
    table,
    shape: tuple[int, ...],
    kind: str = "noise",
    batched: bool = False,
    cond: PyTree = None,
) -> Predictor:
    """A model trained on a DDPM table, as a `Predictor` on the path that the table defines.

    Args:
        eps_fn: `eps_fn(x, timestep)`, or `eps_fn(x, timestep, cond)` once a condition is bound; ONE example.
            `timestep` is the table's own index, 0 the cleanest, a float that may fall between two entries.
            Keep one function object: a fresh lambda compiles again.
        table: ᾱ (`alphas_cumprod`), shape (K,), decreasing.
        shape: Shape of one example.
        kind: What it predicts: "noise", "clean", "v" or "score". Here v = α noise − σ clean.
        batched: The function wants, and returns, a leading axis on x, timestep and condition.
        cond: A condition to bind at once.

    Returns:
        A `Predictor` for t in [1/K, 1]: x at t is √ᾱ_k clean + √(1−ᾱ_k) noise with k = K(1 − t).

    References:
        Ho, Jain and Abbeel (2020), eq. 4; Salimans and Ho (2022) for v.
    """
    form = Parameterization(from_alphas_cumprod(table), kind)
    levels = jnp.asarray(len(table), jnp.result_type(float))
    rule = DdpmRule(form, outside("eps_fn", eps_fn, batched), levels)
    return Predictor(form.path, rule, tuple(shape)).given(cond)
