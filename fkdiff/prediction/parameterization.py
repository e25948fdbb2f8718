"""Six kinds of network output, each p·clean + q·noise, and one 2 × 2 solve for all of them; and energies.

    kind      clean  noise  velocity  score  v    edm
    p         1      0      α̇         0      −σ   σ/(s√v)
    q         0      1      σ̇         −1/σ   α    −αs/√v,     v = α²s² + σ²

With x = α clean + σ noise and D = αq − σp: clean = (q x − σ out)/D, noise = (α out − p x)/D. s is the deviation of the
data: the target of "edm" has variance 1 at every time, and is −v where s = 1 and α² + σ² = 1.

A network of kind "energy" gives a number U with q̂_t ∝ e^{−U}. It is trained and read as the noise σ∇U, and the model
then has a density: exact weights at finite steps, MALA and HMC apply.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, FkdiffError, PyTree, Scalar, choose, require
from fkdiff.paths import Path
from fkdiff.paths.base import Rates
from fkdiff.prediction.predictor import Prediction, Predictor


def _edm(r: Rates, s: float) -> tuple[Array, Array]:
    root = jnp.sqrt((r.alpha * s) ** 2 + r.sigma**2)
    return r.sigma / (s * root), -r.alpha * s / root


# (p, q) by the rates of the path and the deviation of the data.
KINDS: dict[str, Callable[[Rates, float], tuple[Array, Array]]] = {
    "clean": lambda r, s: (jnp.ones_like(r.alpha), jnp.zeros_like(r.alpha)),
    "noise": lambda r, s: (jnp.zeros_like(r.alpha), jnp.ones_like(r.alpha)),
    "velocity": lambda r, s: (r.alpha_dot, r.sigma_dot),
    "score": lambda r, s: (jnp.zeros_like(r.alpha), -1 / r.sigma),
    "v": lambda r, s: (-r.sigma, r.alpha),
    "edm": _edm,
    "energy": lambda r, s: (jnp.zeros_like(r.alpha), jnp.ones_like(r.alpha)),
}


class Parameterization(eqx.Module):
    """What a network's output means on a path.

    Attributes:
        path: The Gaussian path.
        kind: "clean", "noise", "velocity", "score", "v", "edm", or "energy" for a network with one number to say.
        data_scale: s, the standard deviation of the data; only "edm" and its weighting read it.
        coupled: Whether noise and data were paired, as by minibatch optimal transport. The velocity then still moves
            noise to data, and nothing that the model says is a score: whoever needs one refuses the model.

    References:
        Salimans and Ho (2022) for v; Karras, Aittala, Aila and Laine (2022), table 1, for edm, whose c_out F is the
        clean estimate less c_skip x; Kingma, Salimans, Poole and Ho (2021).
    """

    path: Path
    kind: str = eqx.field(static=True, default="velocity")
    data_scale: float = eqx.field(static=True, default=1.0)
    coupled: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        choose("kind", self.kind, KINDS)
        require(
            isinstance(self.data_scale, int | float) and 0 < self.data_scale < float("inf"),
            f"data_scale={self.data_scale!r} must be a positive number: the standard deviation of the data.",
        )
        require(
            not (self.coupled and self.kind in ("score", "energy")),
            f'kind="{self.kind}" is a score, which coupled pairs of noise and data do not have; use "velocity".',
        )

    def coefficients(self, rates: Rates) -> tuple[Array, Array]:
        """(p, q): what is regressed is p·clean + q·noise."""
        return KINDS[self.kind](rates, self.data_scale)

    def target(self, clean: Array, noise: Array, t: Scalar) -> Array:
        """What the output should be for this clean example, noise and time: p·clean + q·noise."""
        p, q = self.coefficients(self.path.rates(t))
        return p * clean + q * noise

    def output(
        self, apply: Callable[..., Array], params: PyTree, x: Array, t: Scalar, cond: PyTree = None, **options: PyTree
    ) -> Array:
        """What is regressed on the target: the network's output, or σ∇U of an energy. Shape of x."""
        if self.kind != "energy":
            return apply(params, x, t, cond, **options)
        slope = jax.grad(lambda y: _number(apply(params, y, t, cond, **options)))(x)
        return self.path.sigma(t).astype(slope.dtype) * slope

    def prediction(self, out: Array, x: Array, t: Scalar) -> Prediction:
        """The four views of a network output `out` at (x, t)."""
        rates = self.path.rates(t)
        p, q = self.coefficients(rates)
        determinant = rates.alpha * q - rates.sigma * p
        # The view that the network gives directly is never recomputed, which would cancel digits.
        clean = out if self.kind == "clean" else (q * x - rates.sigma * out) / determinant
        noise = out if self.kind in ("noise", "energy") else (rates.alpha * out - p * x) / determinant
        velocity = out if self.kind == "velocity" else rates.alpha_dot * clean + rates.sigma_dot * noise
        score = out if self.kind == "score" else -noise / rates.sigma
        if self.coupled:
            score = jnp.full_like(score, jnp.nan)
        return Prediction(clean, noise, velocity, score)

    def predictor(
        self, apply: Callable[..., Array], params: PyTree, shape: tuple[int, ...], cond: PyTree = None
    ) -> Predictor:
        """Wraps a network as a `Predictor`.

        Args:
            apply: `apply(params, x, t, cond) -> out` for ONE example: x and out have shape `shape` (out is a scalar
                for kind "energy"), t is a scalar, cond is whatever `given` binds. Keep one function object: a fresh
                lambda compiles again.
            params: The parameters, a pytree of arrays.
            shape: Shape of one example.
            cond: A condition to bind at once.
        """
        require(
            isinstance(shape, tuple | list) and all(isinstance(n, int | np.integer) and n > 0 for n in shape),
            f"shape={shape!r} must be a tuple of axis lengths, the shape of ONE example: (2,) for points in the plane.",
        )
        rule = NetworkRule(form=self, apply=apply, params=params)
        density = EnergyDensity(apply, params) if self.kind == "energy" else None
        normalized = self.kind != "energy"
        pred = Predictor(self.path, rule, tuple(shape), None, density, self.coupled, normalized)
        return pred if cond is None else pred.given(cond)


class NetworkRule(eqx.Module):
    """A network's output read through a `Parameterization`."""

    form: Parameterization
    apply: Callable[..., Array] = eqx.field(static=True)
    params: PyTree

    def __call__(self, x: Array, t: Array, cond: PyTree) -> Prediction:
        try:
            out = jnp.asarray(self.form.output(self.apply, self.params, x, t, cond))
        except jax.errors.TracerArrayConversionError as error:
            raise FkdiffError(
                "the model's function computes with NumPy, or another library that JAX cannot trace; write it with "
                "jax.numpy, or wrap it in jax.pure_callback (then it has no gradients, and needs control=False)."
            ) from error
        require(
            out.shape == x.shape,
            f"the model returned shape {out.shape} for one example of shape {x.shape}; it must map one example to "
            "one output of the same shape: drop the batch axis, or reshape inside apply.",
        )
        return self.form.prediction(out.astype(x.dtype), x, t)


class EnergyDensity(eqx.Module):
    """−U, a log-density up to a constant that may differ from time to time."""

    apply: Callable[..., Array] = eqx.field(static=True)
    params: PyTree

    def __call__(self, x: Array, t: Array, cond: PyTree) -> Array:
        return -_number(self.apply(self.params, x, t, cond)).astype(x.dtype)


def _number(energy: Array) -> Array:
    energy = jnp.asarray(energy)
    require(
        energy.ndim == 0,
        f'the model returned shape {energy.shape} for one example and kind="energy" needs ONE number, U(x, t); '
        "sum inside apply, or choose another kind.",
    )
    return energy
