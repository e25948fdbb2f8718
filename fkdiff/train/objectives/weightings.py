"""How errors at each noise level count: a function of the log-SNR λ = log α²/σ² that weighs |clean estimate − clean|².

    uniform   1                     the clean estimate's own error
    snr       e^λ                   the error of the noise that it implies
    min_snr   min(e^λ, γ)           the former near the data, the latter near the noise
    sigmoid   e^λ sigmoid(b − λ)    the noise's error, let go of where details are finer than they need be
    edm       e^λ + 1/s²            1 for a network that outputs "edm"

Two more depend on what the network outputs: "unit" divides its error by the target's variance, so that every time
counts alike, and "plain" takes it as it is. None moves the optimum; all decide what an imperfect network is good at.

References: Kingma and Gao (2023), section 3 and table 1; Hang et al. (2023), eq. 9, for min_snr; Hoogeboom et al.
(2024), eq. 9, for sigmoid; Karras, Aittala, Aila and Laine (2022), table 1, for edm.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fkdiff.core import Array, choose, require
from fkdiff.paths.base import Rates
from fkdiff.prediction import Parameterization

OfLogSnr = Callable[[Array], Array]


def uniform() -> OfLogSnr:
    """w = 1."""
    return jnp.ones_like


def snr() -> OfLogSnr:
    """w = e^λ."""
    return jnp.exp


def min_snr(gamma: float = 5.0) -> OfLogSnr:
    """w = min(e^λ, γ), γ > 0."""
    require(gamma > 0, f"gamma={gamma} must be positive; the usual value is 5.")
    return lambda log_snr: jnp.minimum(jnp.exp(log_snr), gamma)


def sigmoid(bias: float = 0.0) -> OfLogSnr:
    """w = e^λ sigmoid(b − λ): b is the log-SNR beyond which errors of the noise stop to count."""
    return lambda log_snr: jnp.exp(log_snr) * jax.nn.sigmoid(bias - log_snr)


def edm(data_scale: float = 1.0) -> OfLogSnr:
    """w = e^λ + 1/s², s the deviation of the data."""
    require(data_scale > 0, f"data_scale={data_scale} must be positive: the standard deviation of the data.")
    return lambda log_snr: jnp.exp(log_snr) + 1 / data_scale**2


NAMES = ("unit", "plain", "uniform", "clean", "snr", "noise", "min_snr", "sigmoid", "edm")


def weight(weighting: str | OfLogSnr, form: Parameterization, rates: Rates) -> Array:
    """w in w · |output − target|², a scalar.

    Args:
        weighting: A name of the list above ("clean" is "uniform" and "noise" is "snr"), or any function of the log-SNR
            that weighs the squared error of the clean estimate.
        form: What the output means.
        rates: Of the path, at the time of the example.
    """
    p, q = form.coefficients(rates)
    if not callable(weighting):
        choose("weighting", weighting, dict.fromkeys(NAMES))
        if weighting == "plain":
            return jnp.ones_like(rates.alpha)
        if weighting == "unit":
            return 1 / ((p * form.data_scale) ** 2 + q**2)
        named = {"clean": uniform, "uniform": uniform, "noise": snr, "snr": snr, "min_snr": min_snr, "sigmoid": sigmoid}
        weighting = edm(form.data_scale) if weighting == "edm" else named[weighting]()
    # An error of the output is σ/(αq − σp) times as large in the clean estimate.
    share = (rates.sigma / (rates.alpha * q - rates.sigma * p)) ** 2
    return share * weighting(2 * (jnp.log(rates.alpha) - jnp.log(rates.sigma)))
