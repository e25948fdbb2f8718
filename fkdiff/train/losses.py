"""The matching loss: denoising score matching, flow matching and the rest are one regression.

L(θ) = E w(t) |apply(θ, α clean + σ noise, t) − (p clean + q noise)|²,    minimised by E[p clean + q noise | x_t]
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, PyTree, Scalar, choose
from fkdiff.paths import Path
from fkdiff.paths.base import Rates
from fkdiff.prediction import KINDS, Parameterization

# w(t), by α, σ and the (p, q) of the kind. With D = αq − σp the error of the implied noise is α/D times the
# error of the output, and that of the implied clean data σ/D times.
WEIGHTINGS: dict[str, Callable[[Rates, Array, Array], Array]] = {
    "plain": lambda r, p, q: jnp.ones_like(r.alpha),
    "unit": lambda r, p, q: 1 / (p**2 + q**2),
    "noise": lambda r, p, q: (r.alpha / (r.alpha * q - r.sigma * p)) ** 2,
    "clean": lambda r, p, q: (r.sigma / (r.alpha * q - r.sigma * p)) ** 2,
}


def matching_loss(
    form: Parameterization,
    apply: Callable[..., Array],
    params: PyTree,
    clean: Array,
    noise: Array,
    t: Scalar,
    cond: PyTree = None,
    weighting: str = "unit",
) -> Array:
    """The loss of ONE example, noise and time: w(t) times the mean squared error of the output.

    Args:
        form: The path, and what the output means on it.
        apply: `apply(params, x, t, cond) -> out`.
        params: Parameters.
        clean: One example of the data.
        noise: Standard normal, of the same shape.
        t: Time in [t_min, t_max].
        cond: The condition of this example; None for none.
        weighting: "unit" (every time counts alike for data of unit variance), "plain" (w = 1), "noise" or
            "clean" (the mean squared error of the noise or of the clean data that the output implies).

    Gradients: pathwise. Unbiased for the loss above whatever the weighting, which moves no optimum.

    References:
        Vincent (2011); Lipman et al. (2023), theorem 2; Kingma and Gao (2023) for the weightings.
    """
    weigh = choose("weighting", weighting, WEIGHTINGS)
    rates = form.path.rates(t)
    p, q = KINDS[form.kind](rates)
    out = apply(params, form.path.noised(clean, noise, t), t, cond)
    return weigh(rates, p, q) * jnp.mean((out - form.target(clean, noise, t)) ** 2)


def sample_times(key: Key, path: Path, num: int, law: str = "uniform") -> Array:
    """Times of a batch, shape (num,), one in each of `num` equal slices.

    Args:
        key: Draws the place inside each slice.
        path: The path.
        num: Batch size.
        law: "uniform" in t, or "logsnr": uniform in log α²/σ².

    References:
        Kingma, Salimans, Poole and Ho (2021), appendix I.1, for stratified times.
    """
    choose("times", law, {"uniform": None, "logsnr": None})
    fraction = (jnp.arange(num, dtype=jnp.result_type(float)) + jax.random.uniform(key, (num,))) / num
    if law == "uniform":
        return path.t_min + (path.t_max - path.t_min) * fraction
    low, high = path.log_snr(path.t_min), path.log_snr(path.t_max)
    # Rounding in `time` may step over the end by one unit in the last place.
    return jnp.clip(path.time(low + (high - low) * fraction), path.t_min, path.t_max)


def drop_labels(key: Key, labels: Array, rate: Scalar, null: int) -> Array:
    """Replaces each label by `null` (the row for "no class") with probability `rate`.

    References:
        Ho and Salimans (2022), algorithm 1.
    """
    dropped = jax.random.bernoulli(key, rate, labels.shape)
    return jnp.where(dropped, jnp.asarray(null, labels.dtype), labels)


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
    weighting: str = "unit",
    times: str = "uniform",
) -> Array:
    """The matching loss averaged over a batch, with times, noise and dropped labels drawn here.

    Args:
        key: Draws times, noise and dropped labels.
        form: The path, and what the output means on it.
        apply: `apply(params, x, t, cond) -> out` for ONE example.
        params: Parameters.
        clean: Shape (batch, ...).
        labels: Shape (batch,), or None for a model that takes no class.
        num_classes: Number of classes; also the label that means "no class".
        label_dropout: Probability of hiding a label, which trains the unconditional model.
        weighting: See `matching_loss`.
        times: See `sample_times`.
    """
    key_time, key_noise, key_drop = jax.random.split(key, 3)
    t = sample_times(key_time, form.path, clean.shape[0], times)
    noise = jax.random.normal(key_noise, clean.shape, clean.dtype)
    if labels is not None:
        labels = drop_labels(key_drop, labels, label_dropout, num_classes)

    def one(c, e, time, label):
        return matching_loss(form, apply, params, c, e, time, label, weighting)

    return jax.vmap(one, (0, 0, 0, None if labels is None else 0))(clean, noise, t, labels).mean()
