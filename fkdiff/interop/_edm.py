"""Denoisers D(x, σ) of x = clean + σ noise (EDM, k-diffusion)."""

from __future__ import annotations

import math
from collections.abc import Callable

import equinox as eqx

from fkdiff.core import Array, PyTree, require
from fkdiff.interop.outside import Outside, outside
from fkdiff.paths import variance_exploding
from fkdiff.prediction import Parameterization, Prediction, Predictor


class EdmRule(eqx.Module):
    """Reads the model at σ(t)."""

    form: Parameterization
    model: Outside

    def __call__(self, x: Array, t: Array, cond: PyTree) -> Prediction:
        return self.form.prediction(self.model(x, self.form.path.sigma(t), cond), x, t)


def edm(
    denoiser: Callable,
    shape: tuple[int, ...],
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    batched: bool = False,
    cond: PyTree = None,
) -> Predictor:
    """A denoiser in the convention of EDM, as a `Predictor` on a variance-exploding path.

    Args:
        denoiser: `denoiser(x, sigma)`, or `denoiser(x, sigma, cond)` once a condition is bound; ONE example.
            The preconditioned D(x; σ), which returns the clean estimate, not the raw network.
        shape: Shape of one example.
        sigma_min: Noise level at t_max, in the unit of the data.
        sigma_max: Noise level at t_min.
        batched: The function wants, and returns, a leading axis on x, sigma and condition.
        cond: A condition to bind at once.

    Returns:
        A `Predictor` with x = clean + σ(t) noise. Its ρ-spaced schedule is
        `fkdiff.grid(num_steps, pred.path, spacing="power")`.

    References:
        Karras, Aittala, Aila and Laine (2022), eqs. 2, 3 and 5.
    """
    require(
        0 < sigma_min < sigma_max,
        f"sigma_min={sigma_min} and sigma_max={sigma_max} must satisfy 0 < sigma_min < sigma_max; "
        "the usual pair is 0.002 and 80.",
    )
    ends = (-2 * math.log(sigma_max), -2 * math.log(sigma_min))
    form = Parameterization(variance_exploding(sigma_min, sigma_max, log_snr=ends), "clean")
    rule = EdmRule(form, outside("denoiser", denoiser, batched))
    return Predictor(form.path, rule, tuple(shape)).given(cond)
