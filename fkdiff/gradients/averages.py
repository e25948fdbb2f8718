"""Averages with error bars over whatever draws there are: a run, independent runs, or chains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core import Array, PyTree, chunked_vmap, deciding, require
from fkdiff.mcmc.trees import described
from fkdiff.smc import Estimate, Replicates, SMCResult, expectation
from fkdiff.smc.results._expectation import real_values
from fkdiff.smc.results.tails import tail_index, threshold
from fkdiff.smc.weights import log_mean_exp

Draws = SMCResult | Replicates | PyTree

REFUSAL = (
    "a derivative flows into the draws of fkdiff.gradients, whose law log_density tells already: pass "
    "jax.lax.stop_gradient(draws). The derivative in params, of any order, is the identity's own."
)


def average(
    draws: Draws,
    f: Callable[[PyTree], Array],
    chunk: int | None = None,
    log_density: Callable[[PyTree], Array] | None = None,
) -> Estimate:
    """E f with its standard error: by genealogy for a run, between populations, or between chains.

    Given the log-density of the draws, the derivative of E f is the covariance identity's: every draw is weighted by
    γ(x, θ) over its own value, which is 1 and has the derivative of log γ.

    Args:
        draws: An `SMCResult`, `Replicates`, or what `run_chain` collected: leaves of shape (num_steps, num_chains, …).
        f: A function of ONE draw, returning an array.
        chunk: Draws per call.
        log_density: log γ of ONE draw, unnormalised; None takes the draws and their weights as they are.

    Gradients: pathwise without a log-density; with one as said, of any order, and refused into the draws.

    References: Foerster et al. (2018), eq. 5, for weights that are 1 and have a derivative.
    """
    if log_density is not None:
        draws = deciding(draws, REFUSAL)
    if isinstance(draws, SMCResult):
        return expectation(draws if log_density is None else _tilted(draws, log_density, chunk), f, chunk)
    if isinstance(draws, Replicates):
        if log_density is not None:
            draws = Replicates(jax.vmap(lambda run: _tilted(run, log_density, chunk))(draws.runs))
        return draws.expectation(f, chunk)
    return _between_chains(draws, f, chunk, log_density)


def _tilted(out: SMCResult, log_density: Callable[[PyTree], Array], chunk: int | None) -> SMCResult:
    """The run with the derivative of log γ on its weights, and of their mean on its evidence; the values stay."""
    gained = _derivative_only(chunked_vmap(log_density, chunk)(out.particles)).astype(out.log_weights.dtype)
    weights = jnp.where(out.log_weights == -jnp.inf, out.log_weights, out.log_weights + gained)
    evidence = out.log_normalizer + _derivative_only(log_mean_exp(weights)).astype(out.log_normalizer.dtype)
    return eqx.tree_at(lambda o: (o.log_weights, o.log_normalizer), out, (weights, evidence))


def _derivative_only(values: Array) -> Array:
    """0 with the derivative of `values`; draws of no density have none."""
    finite = jnp.isfinite(values)
    values = jnp.where(finite, values, jnp.zeros_like(values))
    return values - jax.lax.stop_gradient(values)


def _between_chains(
    draws: Any, f: Callable[[PyTree], Array], chunk: int | None, log_density: Callable[[PyTree], Array] | None = None
) -> Estimate:
    """The mean over steps and chains, and the spread of the chains' own means."""
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(draws)]
    shapes = {leaf.shape[:2] for leaf in leaves}
    require(
        len(shapes) == 1 and all(leaf.ndim >= 2 for leaf in leaves) and min(leaves[0].shape[:2]) >= 2,
        f"draws are {described(draws)}; pass what run_smc or replicate returned, or draws of at least two chains, "
        "(num_steps, num_chains, …), as run_chain(..., num_chains=...) collects them.",
    )
    steps, chains = leaves[0].shape[:2]
    flat = jax.tree.map(lambda leaf: jnp.reshape(leaf, (steps * chains, *jnp.shape(leaf)[2:])), draws)
    gained = None if log_density is None else _derivative_only(chunked_vmap(log_density, chunk)(flat))
    # Σ e^g f / Σ e^g with g = 0: every derivative is that of the ratio.
    shares = None if gained is None else jnp.exp(gained) / jnp.mean(jnp.exp(gained))

    def one(leaf: Any) -> Estimate:
        values = real_values(leaf)
        values = values.astype(jnp.promote_types(values.dtype, jnp.float32))
        means = values.reshape(steps, chains, *values.shape[1:]).mean(axis=0)
        value = means.mean(axis=0)
        if shares is not None:
            mass = shares.astype(values.dtype).reshape((-1,) + (1,) * (values.ndim - 1))
            value = jnp.mean(mass * values, axis=0)
        error = means.std(axis=0, ddof=1) / jnp.sqrt(jnp.asarray(chains, means.dtype))
        return Estimate(value, error, chains - 1, tail_index(values - value[None]), threshold(steps * chains))

    return jax.tree.map(one, chunked_vmap(f, chunk)(flat))
