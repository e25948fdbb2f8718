"""The loss of a two-sided stochastic interpolant."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from fkdiff.core import Array, PyTree, Scalar
from fkdiff.prediction import Bridge


def bridge_loss(
    form: Bridge,
    apply: Callable[..., Array],
    params: PyTree,
    start: Array,
    clean: Array,
    noise: Array,
    t: Scalar,
    cond: PyTree = None,
) -> Array:
    """Mean squared error of the drift and of the latent noise, for ONE pair, noise and time.

    Minimised by the conditional means given x_t, whatever the coupling of start and clean.

    Args:
        form: The interpolant, read as a `Bridge`.
        apply: `apply(params, x, t, cond) -> (2, …)`.
        params: Parameters.
        start: One draw of the first law; for pairs that belong together, made from `clean`: a blurred copy, a copy with
            pixels missing.
        clean: One draw of the second law.
        noise: Standard normal, of the same shape.
        t: Time in [t_min, t_max].
        cond: The condition; None for none.

    Gradients: pathwise.

    References:
        Albergo, Boffi and Vanden-Eijnden (2023), eqs. 2.13 and 2.19.
    """
    out = apply(params, form.path.between(start, clean, noise, t), t, cond)
    return jnp.mean((out - form.target(start, clean, noise, t)) ** 2)
