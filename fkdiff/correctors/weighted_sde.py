"""The target of every corrector: an unnormalised path of densities built from models and rewards."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp

from fkdiff.core import Array, Key, Scalar, number, one_key, whole
from fkdiff.correctors import reference as gaussian
from fkdiff.correctors import tilts as tilting
from fkdiff.correctors.exponents import data_moments, shared
from fkdiff.correctors.population import Corrector
from fkdiff.correctors.rate import Field, assemble, local
from fkdiff.correctors.reference import Reference
from fkdiff.correctors.tilts import Tilt
from fkdiff.prediction import Prediction, Predictor


class WeightedSDE(eqx.Module):
    """log p̃_t = Σ β_i log q_{i,t} + r_t: what `anneal`, `product`, `guidance` and `tilt` return.

    Attributes:
        factors: ((β_i, model_i), …); exponents are leaves and may be negative.
        tilts: Rewards that multiply the target by e^{r_t}.
        reference: N(m, ς² I), a rough law of the data, (0, 1) by default: it sets the start and the gauge. The
            answer is exact for any; a better one is less noisy (`fitted_reference` reads it off the model).
        noise: ν, the noise level ε = ν κ that `feynman_kac` uses by default; 0 is the flow.
    """

    factors: tuple[tuple[Array, Predictor], ...]
    tilts: tuple[Tilt, ...]
    reference: Reference
    noise: Array

    @property
    def betas(self) -> Array:
        """β, shape (F,)."""
        return jnp.stack([beta for beta, _ in self.factors])

    @property
    def paths(self) -> tuple:
        """The path of every factor."""
        return tuple(pred.path for _, pred in self.factors)

    @property
    def path(self):
        """The first factor's: what a grid is uniform on. Ranges, progress and noise are the target's own."""
        return self.factors[0][1].path

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.factors[0][1].shape

    @property
    def time_range(self) -> tuple[Array, Array]:
        """[t_min, t_max] that all paths share."""
        starts, ends = [p.t_min for p in self.paths], [p.t_max for p in self.paths]
        return jnp.max(jnp.stack(starts)), jnp.min(jnp.stack(ends))

    def progress(self, t: Array) -> Array:
        """The share of the path travelled at t: 0 at the start and 1 at the end that all paths share."""
        start, end = self.time_range
        return (t - start) / (end - start)

    def kappa(self, t: Array) -> Array:
        """The noise scale κ of ε = νκ: the smallest of the paths', so that no factor's own diffusion is outrun."""
        first, *rest = self.paths
        scale = first.kappa(t)
        for path in () if shared(self.paths) else rest:
            scale = jnp.minimum(scale, path.kappa(t))
        return scale

    def variance(self, t: Array) -> Array:
        """v = α²ς² + σ² of reference data on the first path."""
        return self.path.alpha(t) ** 2 * self.reference.variance + self.path.sigma(t) ** 2

    def posterior_variance(self, t: Array) -> Array:
        """Of clean data given x_t on the first path, at the target's power B: ς²σ²/(B v)."""
        return self.reference.variance * self.path.sigma(t) ** 2 / (jnp.sum(self.betas) * self.variance(t))

    def grid(self, num_steps: int) -> Array:
        """Times that all paths share, (num_steps + 1,), uniform in the log-SNR of the first path.

        For one path this is `fkdiff.grid(num_steps, path)`.
        """
        num_steps = whole("num_steps", num_steps)
        start, end = self.time_range
        share = jnp.linspace(0.0, 1.0, num_steps + 1)
        low, high = self.path.log_snr(start), self.path.log_snr(end)
        times = self.path.time(low + (high - low) * share)
        return times.at[0].set(start).at[-1].set(end)

    def log_density(self, x: Array, t: Scalar) -> Array:
        """log p̃_t(x) at one point, where every model knows its density.

        Raises:
            FkdiffError: Some model has no closed-form density.
        """
        t = jnp.asarray(t, x.dtype)
        total = sum(beta * pred.log_prob(x, t) for beta, pred in self.factors)
        return total + tilting.value(self, x, t)

    @property
    def knows_density(self) -> bool:
        """Whether `log_density` is available."""
        return all(pred.log_density is not None for _, pred in self.factors)

    @property
    def normalized(self) -> bool:
        """Whether all of those densities integrate to one: then log Z means what it says from the start."""
        return self.knows_density and all(pred.normalized for _, pred in self.factors)

    def field(self, x: Array, t: Scalar) -> Field:
        """u, ∇log p̃ and g (with its d-term) at one point, without control.

        Cost: one evaluation per factor, and one reverse pass per tilt.
        """
        t = jnp.asarray(t, x.dtype)
        gauge = gaussian.closed_form(self.reference, tuple(self.betas), self.paths, t)
        here = local(self, x, t, None, "none", True)
        field = assemble(self, here, gauge, x, jnp.zeros_like(x), "none")
        return field._replace(rate=field.rate + gauge.h * x.size)

    def with_reference(self, mean: Scalar, variance: Scalar) -> WeightedSDE:
        """The same target with another reference N(mean, variance I)."""
        mean = number("mean", mean, action="of the data", shape=None)
        variance = number("variance", variance, 1e-12, action="of the data, positive")
        return eqx.tree_at(lambda s: s.reference, self, Reference(mean, variance))

    def fitted_reference(self, key: Key, num_samples: int = 64) -> WeightedSDE:
        """The reference read off the models at t_min: mean of the clean estimates, and their shared variance.

        Cost: `num_samples` evaluations and jvps of every model.
        """
        key, num_samples = one_key(key), whole("num_samples", num_samples)
        moments = [data_moments(key, pred, num_samples) for _, pred in self.factors]
        share = jnp.abs(self.betas) / jnp.sum(jnp.abs(self.betas))
        mean = weighted([m for m, _ in moments], share)
        return self.with_reference(mean, weighted([v for _, v in moments], share))

    def heuristic(self) -> Predictor:
        """The uncorrected heuristic: score S + ∇r taken for a model's own, as if no weights were needed.

        Sample it with any solver, to see what weights and control change. Its law is not the target's.
        """
        return Predictor(path=self.path, rule=_HeuristicRule(self), shape=self.shape)

    def feynman_kac(
        self,
        step: str = "heun",
        noise: Scalar | None = None,
        control: bool | str = True,
        *,
        divergence: str = "auto",
        gauge: str = "closed-form",
        refresh: int = 6,
        chunk: int | None = None,
    ):
        """The model that `fkdiff.run_smc` runs.

        Args:
            step: "heun" (second order, the default), "euler", "rk4" (noise 0 only) or "exponential" (for noise > 0
                on one shared path).
            noise: ν ≥ 0 in ε = νκ; 0 is the deterministic flow, 1 the reverse SDE. Default: `self.noise`. The flow
                needs the fewest steps, and alone has the runs beside it that measure the steps and fill in missed
                modes. With noise particles reach tails by themselves, and intervals hold sampling alone.
            control: True for "score" ("score+reward" when tilted), False for "none", or a rung of the ladder
                "none", "affine", "score", "score+reward".
            divergence: "exact" (d jvps per model), "probe" (one fresh Rademacher jvp), or "auto": exact up to d = 4.
            gauge: "closed-form", or "published" to compare with the correctors as first published.
            refresh: Langevin moves after a resampling, when noise is 0. Under adaptive resampling they bias log Z by
                O(1/N), as control does.
            chunk: Particles per model call, to bound memory.

        Gradients: pathwise through positions and weights, with θ held fixed: right in the limit of fine steps, and off
        by the step's own error otherwise. With `fkdiff.smc.freeze` they are those of what is returned.

        Raises:
            FkdiffError: The exponents define no target, or the options cannot hold together.
        """
        return Corrector.build(self, step, noise, control, divergence, gauge, refresh, chunk)


class _HeuristicRule(eqx.Module):
    """Velocity c x + κ(S + ∇r), with the views that follow from it."""

    target: WeightedSDE

    def __call__(self, x: Array, t: Array, cond) -> Prediction:
        target, path = self.target, self.target.path
        score = local(target, x, t, None, "none", True)
        total = jnp.tensordot(target.betas, score.scores, axes=1) + score.tilt.gradient
        alpha, sigma = path.alpha(t), path.sigma(t)
        velocity = path.contraction(t) * x + target.kappa(t) * total
        return Prediction((x + sigma**2 * total) / alpha, -sigma * total, velocity, total)


def weighted(values: list[Array], shares: Array) -> Array:
    """Σ shares_i values_i for a list of equal shapes."""
    return jnp.tensordot(shares, jnp.stack(values), axes=1)
