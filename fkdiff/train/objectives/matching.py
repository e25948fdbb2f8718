"""The matching loss: denoising score matching, flow matching and the rest are one regression.

L(θ) = E w(t) |apply(θ, α clean + σ noise, t) − (p clean + q noise)|²,    minimised by E[p clean + q noise | x_t]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, PyTree, Scalar, bernoulli, require
from fkdiff.prediction import Parameterization
from fkdiff.train.objectives.couplings import paired_noise
from fkdiff.train.objectives.times import Quantile, sample_times
from fkdiff.train.objectives.weightings import OfLogSnr, weight

RATE = "a derivative flows into label_dropout, whose choices carry none; pass the rate as a constant."


def matching_loss(
    form: Parameterization,
    apply: Callable[..., Array],
    params: PyTree,
    clean: Array,
    noise: Array,
    t: Scalar,
    cond: PyTree = None,
    weighting: str | OfLogSnr = "unit",
    **options: PyTree,
) -> Array:
    """The loss of ONE example, noise and time: w(t) times the mean squared error of the output.

    Args:
        form: The path, and what the output means on it.
        apply: `apply(params, x, t, cond) -> out`, or U for kind "energy", whose gradient is then regressed.
        params: Parameters.
        clean: One example of the data.
        noise: Standard normal, of the same shape.
        t: Time in [t_min, t_max].
        cond: The condition of this example; None for none.
        weighting: "unit" (every time counts alike), or another of `weightings`, or a function of the log-SNR.
        **options: For `apply`, such as the key of its dropout.

    Gradients: pathwise. Unbiased for the loss above whatever the weighting, which moves no optimum.

    References:
        Vincent (2011); Lipman et al. (2023), theorem 2; Kingma and Gao (2023) for the weightings.
    """
    rates = form.path.rates(t)
    out = form.output(apply, params, form.path.noised(clean, noise, t), t, cond, **options)
    error = jnp.mean((out - form.target(clean, noise, t)) ** 2)
    return weight(weighting, form, rates).astype(error.dtype) * error


def drop_labels(key: Key, labels: Array, rate: Scalar, null: int) -> Array:
    """Replaces each label by `null` (the row for "no class") with probability `rate`; a vector (n, k) by NaN.

    References:
        Ho and Salimans (2022), algorithm 1.
    """
    dropped = bernoulli(key, rate, labels.shape[:1], RATE)
    if jnp.issubdtype(labels.dtype, jnp.floating):
        return jnp.where(dropped[:, None], jnp.nan, labels)
    return jnp.where(dropped, jnp.asarray(null, labels.dtype), labels)


class Drawn(NamedTuple):
    """A batch and all that is random in its loss; every leaf has the batch as leading axis, so that it may be cut.

    Attributes:
        clean: Examples.
        noise: Of each, as the coupling has paired them.
        t: Time of each.
        labels: Conditions, hidden where they were dropped; None for none.
        keys: Of the network's dropout; None without.
    """

    clean: Array
    noise: Array
    t: Array
    labels: Array | None
    keys: Array | None


def draw(
    key: Key,
    form: Parameterization,
    clean: Array,
    labels: Array | None,
    *,
    num_classes: int = 0,
    label_dropout: float = 0.0,
    times: str | Quantile = "uniform",
    stratified: bool = True,
    coupling: str = "independent",
    dropout: bool = False,
) -> Drawn:
    """Times, noise, pairs and dropped labels of a whole batch: see `batch_loss` for the arguments."""
    require(
        form.coupled == (coupling != "independent"),
        f'coupling="{coupling}" and Parameterization(coupled={form.coupled}) disagree: coupled pairs of noise and data '
        "give a velocity without a score, and the form must say so.",
    )
    key_time, key_noise, key_drop = jax.random.split(key, 3)
    keys = jax.random.split(jax.random.fold_in(key, 3), len(clean)) if dropout else None
    t = sample_times(key_time, form.path, clean.shape[0], times, stratified)
    noise = jax.random.normal(key_noise, clean.shape, clean.dtype)
    noise = paired_noise(coupling, clean, noise, labels)
    if labels is not None:
        labels = drop_labels(key_drop, labels, label_dropout, num_classes)
    return Drawn(clean, noise, t, labels, keys)


def losses(
    form: Parameterization,
    apply: Callable[..., Array],
    params: PyTree,
    drawn: Drawn,
    weighting: str | OfLogSnr = "unit",
) -> Array:
    """The matching loss of every example of what was drawn, (batch,)."""

    def one(c, e, time, label, key):
        options = {} if key is None else {"key": key}
        return matching_loss(form, apply, params, c, e, time, label, weighting, **options)

    axes = (0, 0, 0, None if drawn.labels is None else 0, None if drawn.keys is None else 0)
    return jax.vmap(one, axes)(*drawn)


def batch_loss(
    key: Key,
    form: Parameterization,
    apply: Callable[..., Array],
    params: PyTree,
    clean: Array,
    labels: Array | None,
    *,
    num_classes: int = 0,
    label_dropout: float = 0.0,
    weighting: str | OfLogSnr = "unit",
    times: str | Quantile = "uniform",
    stratified: bool = True,
    coupling: str = "independent",
    dropout: bool = False,
) -> Array:
    """The matching loss averaged over a batch, with times, noise and dropped labels drawn here.

    A batch that is cut into pieces is drawn whole first (`draw`), and its pieces averaged (`losses`).

    Args:
        key: Draws times, noise and dropped labels.
        form: The path, and what the output means on it.
        apply: `apply(params, x, t, cond) -> out` for ONE example.
        params: Parameters.
        clean: Shape (batch, ...).
        labels: Classes (batch,), vectors (batch, k), or None for a model that takes no condition.
        num_classes: Number of classes; also the label that means "no class".
        label_dropout: Probability of hiding a label, which trains the unconditional model.
        weighting: See `weightings`.
        times: See `times`.
        stratified: See `sample_times`.
        dropout: Whether `apply` is given a key, as `apply(params, x, t, cond, key=key)`.
        coupling: See `couplings`; anything but "independent" needs a form that says `coupled`.
    """
    drawn = draw(
        key,
        form,
        clean,
        labels,
        num_classes=num_classes,
        label_dropout=label_dropout,
        times=times,
        stratified=stratified,
        coupling=coupling,
        dropout=dropout,
    )
    return losses(form, apply, params, drawn, weighting).mean()
