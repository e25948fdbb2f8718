"""Annealed Langevin dynamics on a score model, over decreasing noise levels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, FkdiffError, Kernel, PyTree, Scalar, concrete, require, whole
from fkdiff.mcmc import noise
from fkdiff.mcmc.states import UnadjustedInfo, kernel_of, real_position, step_length
from fkdiff.mcmc.trees import all_finite, axpy, like


class AnnealedState(NamedTuple):
    """Where a chain is, and when.

    Attributes:
        position: A pytree.
        count: Steps made, int32; the level is number `count // num_steps`.
    """

    position: PyTree
    count: Array


class AnnealedLangevin(eqx.Module):
    """See `annealed_langevin`.

    Attributes:
        score: `score(x, sigma)`.
        levels: σ_1 > … > σ_L.
        step_size: h at the last level.
        num_steps: Steps at each level.
    """

    score: Callable[[PyTree, Array], PyTree]
    levels: Array
    step_size: Array
    num_steps: int = eqx.field(static=True)

    def init(self, key, position):
        """The count starts at 0; the key is not used, and nothing is evaluated."""
        return AnnealedState(real_position(position), jnp.int32(0))

    def step(self, key, state: AnnealedState):
        """x + h_i s(x, σ_i) + √(2h_i) ξ."""
        level = jnp.minimum(state.count // self.num_steps, self.levels.shape[0] - 1)
        sigma = self.levels[level]
        h = self.step_size * (sigma / self.levels[-1]) ** 2
        score = like("score(x, sigma)", self.score(state.position, sigma), state.position)
        drifted = axpy(h, score, state.position)
        position = axpy(jnp.sqrt(2 * h), noise.normal_like(key, drifted), drifted)
        return AnnealedState(position, state.count + 1), UnadjustedInfo(~all_finite(position))


def annealed_langevin(
    score: Callable[[PyTree, Array], PyTree], levels: Any, step_size: Scalar, num_steps: int
) -> Kernel:
    """Langevin steps on the laws of data + σ_i noise for one level after the other, `num_steps` at each.

        x' = x + h_i s(x, σ_i) + √(2h_i) ξ,    h_i = step_size · σ_i²/σ_L²

    A step of the kernel is one of these: run `len(levels) · num_steps` of them. Further steps stay at the last level.

    Args:
        score: `score(x, sigma)`, ∇log of the law of the data with noise of standard deviation `sigma`, at ONE position.
        levels: σ_1 > … > σ_L > 0, in the position's units.
        step_size: h at the last level, in the position's units squared; half of the published ε.
        num_steps: Steps at each level, T.

    Returns:
        `Kernel`; its info is `UnadjustedInfo`, its state an `AnnealedState` without evaluation: there is no density.

    Raises:
        FkdiffError: The levels do not decrease to a positive one, the step size is not positive, the count is below 1,
            or the score is unlike the position.

    Cost: one call of `score` per step.

    Gradients: pathwise, of the chain as it stands.

    References: Song and Ermon (2019), algorithm 1.
    """
    require(callable(score), f"score={score!r} is not a function; pass score(x, sigma).")
    try:
        sigmas = jnp.asarray(levels, dtype=jnp.result_type(float))
    except (TypeError, ValueError):
        raise FkdiffError(f"levels={levels!r} are not numbers; pass decreasing standard deviations.") from None
    require(
        sigmas.ndim == 1 and sigmas.size > 0, f"levels has shape {sigmas.shape}; pass a list of standard deviations."
    )
    known = concrete(sigmas)
    require(
        known is None or bool(np.all(np.isfinite(known)) and known[-1] > 0 and np.all(np.diff(known) < 0)),
        f"levels={known} must decrease to a positive number; pass such as jnp.geomspace(10.0, 0.01, 10).",
    )
    kernel = AnnealedLangevin(
        score,
        sigmas,
        step_length("step_size", step_size),
        whole("num_steps", num_steps, 1, "the steps at each noise level"),
    )
    return kernel_of(kernel, "pathwise")
