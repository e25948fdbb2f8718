"""Five kinds of network output, each p·clean + q·noise, and one 2 × 2 solve for all of them.

    kind      clean  noise  velocity  score  v
    p         1      0      α̇         0      −σ
    q         0      1      σ̇         −1/σ   α

With x = α clean + σ noise and D = αq − σp: clean = (q x − σ out)/D, noise = (α out − p x)/D.
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

KINDS: dict[str, Callable[[Rates], tuple[Array, Array]]] = {
    "clean": lambda r: (jnp.ones_like(r.alpha), jnp.zeros_like(r.alpha)),
    "noise": lambda r: (jnp.zeros_like(r.alpha), jnp.ones_like(r.alpha)),
    "velocity": lambda r: (r.alpha_dot, r.sigma_dot),
    "score": lambda r: (jnp.zeros_like(r.alpha), -1 / r.sigma),
    "v": lambda r: (-r.sigma, r.alpha),
}


class Parameterization(eqx.Module):
    """What a network's output means on a path.

    Attributes:
        path: The Gaussian path.
        kind: "clean", "noise", "velocity", "score" or "v".

    References:
        Salimans and Ho (2022) for v; Kingma, Salimans, Poole and Ho (2021).
    """

    path: Path
    kind: str = eqx.field(static=True, default="velocity")

    def __check_init__(self):
        choose("kind", self.kind, KINDS)

    def target(self, clean: Array, noise: Array, t: Scalar) -> Array:
        """What the network should output for this clean example, noise and time: p·clean + q·noise."""
        p, q = KINDS[self.kind](self.path.rates(t))
        return p * clean + q * noise

    def prediction(self, out: Array, x: Array, t: Scalar) -> Prediction:
        """The four views of a network output `out` at (x, t)."""
        rates = self.path.rates(t)
        p, q = KINDS[self.kind](rates)
        determinant = rates.alpha * q - rates.sigma * p
        # The view that the network gives directly is never recomputed, which would cancel digits.
        clean = out if self.kind == "clean" else (q * x - rates.sigma * out) / determinant
        noise = out if self.kind == "noise" else (rates.alpha * out - p * x) / determinant
        velocity = out if self.kind == "velocity" else rates.alpha_dot * clean + rates.sigma_dot * noise
        score = out if self.kind == "score" else -noise / rates.sigma
        return Prediction(clean, noise, velocity, score)

    def predictor(
        self, apply: Callable[..., Array], params: PyTree, shape: tuple[int, ...], cond: PyTree = None
    ) -> Predictor:
        """Wraps a network as a `Predictor`.

        Args:
            apply: `apply(params, x, t, cond) -> out` for ONE example: x and out have shape `shape`, t is a
                scalar, cond is whatever `given` binds. Keep one function object: a fresh lambda compiles again.
            params: The parameters, a pytree of arrays.
            shape: Shape of one example.
            cond: A condition to bind at once.
        """
        require(
            isinstance(shape, tuple | list) and all(isinstance(n, int | np.integer) and n > 0 for n in shape),
            f"shape={shape!r} must be a tuple of axis lengths, the shape of ONE example: (2,) for points in the plane.",
        )
        rule = NetworkRule(form=self, apply=apply, params=params)
        pred = Predictor(path=self.path, rule=rule, shape=tuple(shape))
        return pred if cond is None else pred.given(cond)


class NetworkRule(eqx.Module):
    """A network's output read through a `Parameterization`."""

    form: Parameterization
    apply: Callable[..., Array] = eqx.field(static=True)
    params: PyTree

    def __call__(self, x: Array, t: Array, cond: PyTree) -> Prediction:
        try:
            out = jnp.asarray(self.apply(self.params, x, t, cond))
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
