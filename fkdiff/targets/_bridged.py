"""The exact model of a two-sided interpolant between independent draws of two Gaussian mixtures."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, PyTree, expect, require
from fkdiff.paths.interpolants import Interpolant
from fkdiff.prediction import Bridge, Prediction, Predictor
from fkdiff.targets.mixture import GaussianMixture


class BridgedRule(eqx.Module):
    """Conditional means given x_t, component by component: everything is Gaussian given both components."""

    start: GaussianMixture
    end: GaussianMixture
    path: Interpolant

    def __call__(self, x: Array, t: Array, cond: PyTree) -> Prediction:
        (a, b, gamma), rates = self.path.mix(t), self.path.mix_rates(t)
        first, last = self.start._diagonal()[:, None, :], self.end._diagonal()[None, :, :]
        variance = a**2 * first + b**2 * last + gamma**2
        centre = a * self.start.means[:, None, :] + b * self.end.means[None, :, :]
        residual = (x[None, None, :] - centre) / variance
        log_joint = self.start.log_weights[:, None] + self.end.log_weights[None, :]
        log_joint = log_joint - 0.5 * (jnp.log(variance) + residual**2 * variance).sum(-1)
        weights = jax.nn.softmax(log_joint.reshape(-1))

        def mean(of_pair: Array) -> Array:
            return weights @ of_pair.reshape(-1, x.size)

        began = mean(self.start.means[:, None, :] + a * first * residual)
        ends = mean(self.end.means[None, :, :] + b * last * residual)
        out = jnp.stack([rates.start * began + rates.clean * ends, gamma * mean(residual)])
        return Bridge(self.path).prediction(out, x, t)


def bridged(start: GaussianMixture, end: GaussianMixture, path: Interpolant) -> Predictor:
    """The exact velocity and score of x_t = a start + b clean + γ noise, for independent `start` and `clean`.

        path = fkdiff.paths.interpolant()
        pred = fkdiff.targets.bridged(first, second, path)
        fkdiff.integrate(key, pred, fkdiff.solvers.heun(noise=0.5), fkdiff.grid(64, path, "uniform"), initial=starts)

    Facts: started from the law of x_t at t_min, every noise level gives that at t_max.

    Args:
        start: The law at t = 0, K components.
        end: The law at t = 1, L components.
        path: From `fkdiff.paths.interpolant`.

    Cost: O(K L d) per evaluation. Gradients: pathwise.
    """
    expect("path", path, Interpolant, "pass fkdiff.paths.interpolant(); for a start of noise use end.predictor(path)")
    size = end.means.shape[1]
    require(start.means.shape[1] == size, f"start has {start.means.shape[1]} dimensions and end {size}.")
    return Predictor(path, BridgedRule(start, end, path), (size,))
