"""DDIM, and DDPM's ancestral sampling as its η = 1."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp

from fkdiff.core import Array, Scalar, Transition
from fkdiff.prediction import Predictor
from fkdiff.solvers.base import Solver, State, nonnegative, root, span


class Ddim(Solver):
    """See `ddim`."""

    noise: Array  # η
    evaluations: ClassVar[int] = 1

    def step(self, pred: Predictor, state: State, t0: Scalar, t1: Scalar) -> tuple[Transition, State]:
        t0, t1 = span(t0, t1)
        path, prediction = pred.path, state.prediction
        gain = path.log_snr(t1) - path.log_snr(t0)
        # 1 − e^{−gain} and e^{−gain} are the fresh and the kept share of the noise variance; neither cancels.
        fresh = -jnp.expm1(-gain)
        kept = jnp.exp(-gain) + (1 - self.noise**2) * fresh
        sigma = path.sigma(t1)
        mean = path.alpha(t1) * prediction.clean + sigma * jnp.sqrt(kept) * prediction.noise
        return Transition(mean, sigma * self.noise * root(fresh)), state


def ddim(eta: Scalar = 0.0) -> Ddim:
    """The step that would be exact if the clean estimate were the clean example.

        x' ~ N(α' clean + √(σ'² − s²) noise, s² I),     s = η σ' √(1 − (ασ'/(α'σ))²)

    Order 1. Exact at any step when the clean estimate does not depend on x. η = 1 samples the Gaussian
    posterior of x' given x and the clean estimate: DDPM's ancestral step, on every path.

    Args:
        eta: η in [0, 1]; 0 is deterministic.

    Cost: 1 evaluation per step. Gradients: pathwise.

    References:
        Song, Meng and Ermon (2021), eqs. 12 and 16; Ho, Jain and Abbeel (2020), eqs. 6 and 7.
    """
    return Ddim(nonnegative("eta", eta, most=1.0))
