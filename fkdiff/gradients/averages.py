"""Averages with error bars over whatever draws there are: a run, independent runs, or chains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fkdiff.core import Array, PyTree, chunked_vmap, require
from fkdiff.mcmc.trees import described
from fkdiff.smc import Estimate, Replicates, SMCResult, expectation

Draws = SMCResult | Replicates | PyTree


def average(draws: Draws, f: Callable[[PyTree], Array], chunk: int | None = None) -> Estimate:
    """E f with its standard error: by genealogy for a run, between populations, or between chains.

    Args:
        draws: An `SMCResult`, `Replicates`, or what `run_chain` collected: leaves of shape (num_steps, num_chains, …).
        f: A function of ONE draw, returning an array.
        chunk: Draws per call.
    """
    if isinstance(draws, SMCResult):
        return expectation(draws, f, chunk)
    if isinstance(draws, Replicates):
        return draws.expectation(f, chunk)
    return _between_chains(draws, f, chunk)


def _between_chains(draws: Any, f: Callable[[PyTree], Array], chunk: int | None) -> Estimate:
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
    values = chunked_vmap(f, chunk)(flat)
    means = values.reshape(steps, chains, *values.shape[1:]).mean(axis=0)
    return Estimate(
        means.mean(axis=0), means.std(axis=0, ddof=1) / jnp.sqrt(jnp.asarray(chains, means.dtype)), chains - 1
    )
