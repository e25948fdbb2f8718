"""From a validated config to a path and a network on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from fkdiff import nn, paths
from fkdiff.core import Array, Key, PyTree, Scalar
from fkdiff.discrete import Masked, masked
from fkdiff.prediction import Parameterization
from fkdiff.train import config as schema
from fkdiff.train.data.sources import example_shape
from fkdiff.train.objectives import times, weightings
from fkdiff.train.text import VOCABULARY

Form = Parameterization | Masked  # what the output of a network means

_PATHS = {
    "variance_preserving": paths.variance_preserving,
    "cosine": paths.cosine,
    "variance_exploding": paths.variance_exploding,
    "linear": paths.linear,
}


def build_path(section: Any) -> paths.Path:
    """The path that the `path:` section of a config names."""
    options = section.model_dump(exclude={"kind"})
    return _PATHS[section.kind](**options)


def build_form(config: schema.TrainConfig) -> Form:
    """What the output of a config's network means: a `Parameterization` of its path, or logits of masked tokens."""
    if isinstance(config.path, schema.Masked):
        return masked(len(VOCABULARY))
    return build_parameterization(config.path, config.objective)


def build_parameterization(path: Any, objective: schema.Objective) -> Parameterization:
    """What an output means, by the `path:` and `objective:` sections."""
    coupled = objective.coupling != "independent"
    return Parameterization(build_path(path), objective.kind, objective.data_scale, coupled)


def build_weighting(objective: schema.Objective) -> str | weightings.OfLogSnr:
    """The `objective.weighting:` section, for `matching_loss`."""
    section = objective.weighting
    if isinstance(section, schema.MinSnr):
        return weightings.min_snr(section.gamma)
    return weightings.sigmoid(section.bias) if isinstance(section, schema.Sigmoid) else section.kind


def build_times(objective: schema.Objective) -> times.Quantile:
    """The `objective.times:` section, for `sample_times`."""
    options = objective.times.model_dump(exclude={"kind", "stratified"})
    return times.LAWS[objective.times.kind](**options)


@dataclasses.dataclass(frozen=True)
class ScaledApply:
    """A network that sees inputs, outputs and times of order one, whatever the path and the kind of output.

    For data of variance s² x has variance v = α²s² + σ² and the target p·clean + q·noise has p²s² + q², which spans
    orders of magnitude on some paths. The network F works on x/√v and log-SNR/9; its output is multiplied by
    √(p²s² + q²). An energy is ½|x|²/v − √(v/σ²) ⟨x/√v, F⟩: that of the Gaussian, and a correction whose gradient grows
    towards the data as scores do. Equal configs give equal functions, so nothing compiles twice.

    Attributes:
        inner: `inner(params, x, t, cond) -> out`, for ONE example.
        path: The `path:` section of the config.
        objective: The `objective:` section.

    References:
        Karras, Aittala, Aila and Laine (2022), table 1, for the idea; Thornton et al. (2025) for inner products as
        energies.
    """

    inner: Any
    path: Any
    objective: Any

    def __call__(self, params: PyTree, x: Array, t: Scalar, cond: PyTree = None, **options: Any) -> Array:
        form = build_parameterization(self.path, self.objective)
        rates = form.path.rates(t)
        p, q = form.coefficients(rates)
        inside = jnp.sqrt((rates.alpha * form.data_scale) ** 2 + rates.sigma**2).astype(x.dtype)
        y = x / inside
        out = self.inner(params, y, form.path.log_snr(t) / 9, cond, **options)
        if form.kind == "energy":
            return 0.5 * jnp.sum(y**2) - inside / rates.sigma.astype(x.dtype) * jnp.sum(y * out)
        return jnp.sqrt((p * form.data_scale) ** 2 + q**2).astype(x.dtype) * out

    def computing_in(self, precision: str | None) -> ScaledApply:
        """The same with the network in another precision."""
        return dataclasses.replace(self, inner=self.inner.computing_in(precision))


class Model(nnx.Module):
    """The network of a config; a vector network sees images flattened."""

    def __init__(self, config: schema.TrainConfig, *, rngs: nnx.Rngs):
        shape, section = example_shape(config), config.model
        told = {"num_classes": config.data.num_classes, "cond_size": config.data.cond_length}
        if section.kind == "mlp":
            (size,) = shape
            self.network = nn.MLP(size, section.width, section.depth, **told, dropout=section.dropout, rngs=rngs)
        elif section.kind == "transformer":
            (length,) = shape
            sizes = (section.width, section.depth, section.heads)
            self.network = nn.Transformer(len(VOCABULARY), length, *sizes, section.timed, rngs=rngs)
        elif section.kind == "dit":
            sizes = (section.patch, section.width, section.depth, section.heads)
            self.network = nn.DiT(shape, *sizes, **told, dropout=section.dropout, rngs=rngs)
        else:
            sizes = (section.channels, section.levels)
            self.network = nn.UNet(shape, *sizes, **told, dropout=section.dropout, rngs=rngs)

    def __call__(self, x: Array, t: Array, cond: PyTree = None, **options: Any) -> Array:
        return self.network(x, t, cond, **options)


def build_model(config: schema.TrainConfig, key: Key) -> tuple[Callable[..., Array], PyTree, Form]:
    """The network of a config, freshly drawn.

    Args:
        config: The whole config; the data fix the shape and the number of classes.
        key: Draws the initial parameters.

    Returns:
        `apply(params, x, t, cond)` for ONE example, the parameters, and what the output means.
    """
    inner, params = nn.functional(Model(config, rngs=nnx.Rngs(params=key)))
    form = build_form(config)
    # Tokens and logits have no scale.
    apply = inner if isinstance(form, Masked) else ScaledApply(inner, config.path, config.objective)
    return apply, params, form


def abstract_params(config: schema.TrainConfig) -> tuple[Callable[..., Array], PyTree, Form]:
    """The same with shapes in place of parameters: nothing is drawn or allocated."""
    kept = {}

    def draw(key):
        apply, params, _ = build_model(config, key)
        kept["apply"] = apply
        return params

    params = jax.eval_shape(draw, jax.random.key(0, impl="threefry2x32"))
    return kept["apply"], params, build_form(config)
