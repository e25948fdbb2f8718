"""The Gaussian posterior step with the variance that the clean estimate leaves out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, Scalar, Transition, choose
from fkdiff.core.keys import Use, stream
from fkdiff.prediction import Prediction, Predictor
from fkdiff.solvers.base import Solver, State, root, span
from fkdiff.solvers.reference import as_reference, spread

EXACT = 4  # up to this many coordinates the Jacobian is read in full; above, through one probe
MOST = 9.0  # v is at most this times σ²/α²: three deviations of what one observation x/α leaves of a flat prior


class Unexplained(NamedTuple):
    """What the model's Jacobian said at the present position; NaN between a step and the next `arrive`."""

    trace: Array  # of ∂clean/∂x over d, (); or its diagonal, the shape of one example
    probe: Array  # z, the shape of one example; () up to EXACT coordinates


class Ancestral(Solver):
    """See `ancestral`."""

    noise: Array  # always 1
    reference: tuple[Array, Array]
    variance: str = eqx.field(static=True)
    evaluations: ClassVar[int] = 1

    def source(self, size: int) -> str:
        """Where v comes from, for examples of a size."""
        return self.variance if self.variance != "auto" else "model" if size == 1 else "reference"

    def jvps(self, shape: tuple[int, ...]) -> int:
        size = math.prod(shape)
        return 0 if self.source(size) == "reference" else size if size <= EXACT else 1

    def memory(self, x: Array) -> Any:
        if self.source(x.size) == "reference":
            return ()
        unknown = jnp.full_like(x, jnp.nan)
        probe = jnp.zeros((0,), x.dtype) if x.size <= EXACT else unknown
        return Unexplained(unknown if self.variance == "diagonal" else unknown.sum(), probe)

    def arrive(self, pred: Predictor, x: Array, t: Scalar, memory: Any, key: Key | None = None) -> State:
        """One evaluation, and the jvps of v share it. Without a key the probe is the one that `memory` holds."""
        if self.source(x.size) == "reference":
            return State(x, pred(x, t), memory)
        probe = memory.probe
        if x.size > EXACT and key is not None:
            probe = jax.random.rademacher(stream(key, Use.SOLVER), x.shape, x.dtype)
        prediction, diagonal = jacobian(pred, x, t, probe if x.size > EXACT else None)
        trace = diagonal if self.variance == "diagonal" else diagonal.mean()
        return State(x, prediction, Unexplained(trace, probe))

    def step(self, pred: Predictor, state: State, t0: Scalar, t1: Scalar) -> tuple[Transition, State]:
        t0, t1 = span(t0, t1)
        path, prediction = pred.path, state.prediction
        gain = path.log_snr(t1) - path.log_snr(t0)
        fresh = -jnp.expm1(-gain)
        alpha, sigma = path.alpha(t1), path.sigma(t1)
        mean = alpha * prediction.clean + sigma * jnp.exp(-0.5 * gain) * prediction.noise
        if self.source(state.x.size) == "reference":
            v, left = self.reference[1] * path.sigma(t0) ** 2 / spread(path, t0, self.reference[1]), state
        else:
            trace, observed = state.memory.trace, path.sigma(t0) ** 2 / path.alpha(t0)
            v = jnp.clip(observed * trace, 0.0, MOST * observed / path.alpha(t0))
            left = state._replace(memory=state.memory._replace(trace=jnp.full_like(trace, jnp.nan)))
        # x' = α' clean + σ'e^{−Δ/2} noise + …: α'(1 − e^{−Δ}) is what an error of the clean estimate moves it by.
        return Transition(mean, root(sigma**2 * fresh + (alpha * fresh) ** 2 * v)), left


def jacobian(pred: Predictor, x: Array, t: Scalar, probe: Array | None) -> tuple[Prediction, Array]:
    """The prediction and the diagonal of ∂clean/∂x, the shape of one example; with a probe z its estimate z∘Jz."""

    def clean(x: Array) -> tuple[Array, Prediction]:
        prediction = pred(x, t)
        return prediction.clean, prediction

    if probe is not None:
        _, along, prediction = jax.jvp(clean, (x,), (probe,), has_aux=True)
        return prediction, probe * along
    _, push, prediction = jax.linearize(clean, x, has_aux=True)
    basis = jnp.eye(x.size, dtype=x.dtype).reshape(-1, *x.shape)
    return prediction, jnp.sum(basis * jax.vmap(push)(basis), axis=0)


VARIANCES: dict[str, Callable] = dict.fromkeys(("auto", "model", "diagonal", "reference"), as_reference)


def ancestral(variance: str = "auto", reference: tuple = (0.0, 1.0)) -> Ancestral:
    """The posterior step of x' given x, with the mean and the variance of the clean example given x.

        x' ~ N(α' clean + σ' e^{−Δ/2} noise, s² I),     s² = σ'²(1 − e^{−Δ}) + c² v,     c = α'(1 − e^{−Δ})

    Δ is the gain in log-SNR and v the variance of the clean example given x, which `ddim(eta=1)` takes for 0: its
    chain is too narrow. Order 1 in the law; 2 in one dimension with the model's v. On the mixture of the README,
    tilted by −¾(x − 1)², log Z is off by −0.005 at 16 steps (`ddim(eta=1)`: +0.166) and by −0.001 at 32 (+0.091).

    Args:
        variance: Where v comes from.
            "auto": "model" in one dimension, "reference" above, where a call buys more as a step than as a jvp.
            "model": (σ²/α) tr(∂clean/∂x)/d, clipped to [0, 9σ²/α²]; the whole Jacobian up to d = 4, one Rademacher
            probe above, drawn with the key of the step that led to x.
            "diagonal": the same for each coordinate, (σ²/α) ∂clean_i/∂x_i: exact for Gaussian data with independent
            coordinates. Above d = 4 it is z∘(∂clean/∂x z), as noisy as the Jacobian is far from diagonal.
            "reference": ς²σ²/(α²ς² + σ²), that of N(m, ς²). Exact in law, at any step, where the data are that.
        reference: (m, ς²), mean and variance of the data, for "reference"; each a scalar or of the shape of one
            example.

    One v for all coordinates makes narrow directions too wide and wide ones too narrow: N(0, diag(0.01, 3)) gets
    variances 1.17 and 0.89 times what they should be at 32 steps with the model's v, right ones by "diagonal". Axes
    that are not those of the coordinates are helped by none of these; take more steps.

    Cost: 1 evaluation per step. "model" and "diagonal" add d jvps up to d = 4 and one above, in one pass with the
    evaluation; "reference" none. Gradients: pathwise.

    References:
        Bao, Li, Zhu and Zhang (2022), "Analytic-DPM", theorem 1; Bao, Li, Sun, Zhu and Zhang (2022), "Estimating the
        Optimal Covariance with Imperfect Mean", for one variance per coordinate. Efron (2011) for v by Tweedie's
        second-order formula; Hutchinson (1990) for the probe.
    """
    choose("variance", variance, VARIANCES)
    return Ancestral(jnp.ones((), jnp.result_type(float)), as_reference(reference), variance)
