"""A guided model without its weights: what people run, for comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp

from fkdiff.core import Array, Key, PyTree, expect
from fkdiff.smc import FeynmanKac


class _Unweighted(eqx.Module):
    """The first particle without its weight."""

    initial: Callable

    def __call__(self, key: Key) -> tuple[PyTree, Array]:
        particle, log_weight = self.initial(key)
        return particle, jnp.zeros_like(log_weight)


class _Nothing(eqx.Module):
    """log G = 0, in the dtype of the model's own."""

    log_potential: Callable

    def __call__(self, previous: PyTree, particle: PyTree, t0: Array, t1: Array) -> Array:
        return jnp.zeros_like(self.log_potential(previous, particle, t0, t1))


def uncorrected(model: FeynmanKac) -> FeynmanKac:
    """The proposals of a steered model alone: every log G is 0.

    Of `fkdiff.inverse(proposal="dps")` it is diffusion posterior sampling, of "pigdm" pseudo-inverse guidance, as these
    are run in practice, up to their step sizes. Its law is a bias of the number of steps, and log Z is 0 by definition.

    Args:
        model: From `fkdiff.inverse` or `fkdiff.steer`.

    References: Chung et al. (2023), algorithm 1; Song et al. (2023), algorithm 1.
    """
    expect("model", model, FeynmanKac, "pass what fkdiff.inverse or fkdiff.steer returned")
    return dataclasses.replace(
        model,
        initial=_Unweighted(model.initial),
        log_potential=_Nothing(model.log_potential),
        log_final=None,
        fault=None,
    )
