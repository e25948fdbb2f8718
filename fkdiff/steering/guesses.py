"""What the end will pay, guessed on the way: R_k, in nats, from where a particle is.

The best guess is log E[e^{λ r(x_K)} | x_k]: with it and the proposal that it asks for, all weights are equal. Any guess
leaves the law alone, since what has been paid is settled at the end; a random one rides in the particle.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, Key, require, whole
from fkdiff.core.keys import Use, stream
from fkdiff.paths import Path
from fkdiff.prediction import Prediction, scalar_reward


class Guess(eqx.Module):
    """`guess(key, reward, path, reference, x, prediction, t) -> R`, a scalar in nats, for ONE particle.

    `reward` has its strength λ inside. `reads_model` says whether R depends on the prediction at (x, t).
    """

    reads_model: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def __call__(
        self,
        key: Key,
        reward: Callable,
        path: Path,
        reference: tuple[Array, Array],
        x: Array,
        prediction: Prediction,
        t: Array,
    ) -> Array:
        """R at one particle."""


class CleanEstimate(Guess):
    """See `clean_estimate`."""

    reads_model: ClassVar[bool] = True

    def __call__(self, key, reward, path, reference, x, prediction, t) -> Array:
        return reward(prediction.clean)


class CleanDraws(Guess):
    """See `clean_draws`."""

    num: int = eqx.field(static=True)

    reads_model: ClassVar[bool] = True

    def __call__(self, key, reward, path, reference, x, prediction, t) -> Array:
        alpha, sigma, variance = path.alpha(t), path.sigma(t), reference[1]
        spread = jnp.sqrt(variance * sigma**2 / (alpha**2 * variance + sigma**2))
        noise = jax.random.normal(stream(key, Use.PROBE), (self.num, *x.shape), x.dtype)
        rewards = jax.vmap(lambda xi: reward(prediction.clean + spread * xi))(noise)
        return jax.nn.logsumexp(rewards) - math.log(self.num)


class Learned(Guess):
    """See `learned`."""

    value: Callable[[Array, Array], Array]

    reads_model: ClassVar[bool] = False

    def __call__(self, key, reward, path, reference, x, prediction, t) -> Array:
        return scalar_reward(lambda z: self.value(z, t), x)


def clean_estimate() -> CleanEstimate:
    """R = λ r(clean(x, t)): the reward at the model's clean estimate; the default.

    Cost: one reward. References: Singhal et al. (2025); Chung et al. (2023) for the estimate.
    """
    return CleanEstimate()


def clean_draws(num: int = 8) -> CleanDraws:
    """R = log (1/n) Σ e^{λ r(clean_i)} over draws clean_i ~ N(clean(x, t), (1/ς² + α²/σ²)⁻¹ I), λ inside.

    The law of clean given x_t for data of variance ς² (the reference): it sees rewards that are narrow or have several
    hills, which the clean estimate, a mean, steps over.

    Args:
        num: Draws per particle and step.

    Cost: `num` rewards, no model call. References: Singhal et al. (2025), section 3.2, with λ inside the mean.
    """
    return CleanDraws(whole("num", num))


def learned(value: Callable[[Array, Array], Array]) -> Learned:
    """R = value(x, t), in nats, λ inside: an exact twist, or one trained on roll-outs (`fkdiff.train.fit_value`).

    Args:
        value: `value(x, t) -> scalar`, a function or a pytree; log E[e^{λ r(x_K)} | x_t = x] is the best there is.
    """
    require(callable(value), f"value={value!r} is not a function; pass value(x, t) -> one number in nats.")
    return Learned(value)


GUESSES: dict[str, Callable[[], Any]] = {"clean": clean_estimate, "draws": clean_draws}
