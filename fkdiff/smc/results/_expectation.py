"""Averages over a weighted population, with an error bar that knows who descends from whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fkdiff.core import (
    Array,
    Key,
    PyTree,
    Status,
    chunk_size,
    chunked_vmap,
    concrete,
    expect,
    failed,
    one_key,
    require,
    take,
    whole,
)
from fkdiff.core.host import intended_transfers
from fkdiff.core.status import SENTENCES
from fkdiff.smc.resamplers.ancestors import systematic_ancestors
from fkdiff.smc.results.estimate import Estimate
from fkdiff.smc.results.evidence import stratified_variance
from fkdiff.smc.results.result import SMCResult
from fkdiff.smc.results.tails import tail_index, threshold
from fkdiff.smc.weights import normalized

REFUSAL = (
    "a derivative flows through fkdiff.smc.resample, whose choice of particles carries none; average over the weighted "
    "population by fkdiff.expectation(out, f), which is differentiable, or use fkdiff.gradients.expectation."
)


@intended_transfers
def expectation(out: SMCResult, f: Callable[[PyTree], PyTree], chunk: int | None = None) -> Any:
    """Σ W_i f(x_i), with a standard error that accounts for the genealogy.

    With η the estimate, E_i the time-0 ancestor of particle i and R the resamplings that happened,

        V = c Σ_j ( Σ_{i: E_i = j} W_i (f_i − η) )²,

    c = (N/(N − 1))^{R+1} for multinomial resampling and without any, 1 for the other schemes.

    Args:
        out: From `run_smc`.
        f: A function of ONE particle, returning an array of any shape, or a pytree of arrays.
        chunk: Particles per call of f.

    Returns:
        `Estimate(value, standard_error)`; of a tree a tree of them. The value has a bias of order 1/N. With few
        surviving ancestors the error is a lower bound, and control couples particles unseen: `fkdiff.replicate` assumes
        neither. `tail_index` tells terms so heavy that they have no variance: `fkdiff.check(estimate)` and its print
        say so.

    Raises:
        FkdiffError: `out` is not one run, or f returns what is no real number.

    References: Lee and Whiteley (2018), eq. 9; Chan and Lai (2013), eq. 2.19; Olsson and Douc (2019) on its limits.
    """
    _one_result(out)
    chunk = chunk_size(chunk)
    populations = [out.particles] if out.pair is None else [out.particles, out.pair.fine, out.pair.coarse]
    values = [jax.tree.map(real_values, chunked_vmap(f, chunk)(particles)) for particles in populations]
    return jax.tree.map(lambda leaf, *sides: _average(out, leaf, sides), *values)


def real_values(leaf: Any) -> Array:
    """What f returned, refusing what is no real number; None of the precision is lost."""
    leaf = jnp.asarray(leaf)
    real = any(jnp.issubdtype(leaf.dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_))
    require(real, f"f returned dtype {leaf.dtype}, of which there is no average; return real numbers.")
    return leaf


def _average(out: SMCResult, values: Array, sides: tuple[Array, ...]) -> Estimate:
    """Σ W_i f_i of one array; `sides` are its values on the two populations of `out.pair`."""
    weights, info = normalized(out.log_weights), out.info
    count = weights.shape[0]
    values = _wide(values, weights)
    mass = weights.reshape((count,) + (1,) * (values.ndim - 1)).astype(values.dtype)
    # 0 · NaN is NaN: f may be anything where no mass is.
    values = jnp.where(mass == 0, jnp.zeros_like(values), values)
    value = jnp.sum(mass * values, axis=0)
    deviations = mass * (values - value[None])
    families = jnp.zeros_like(deviations).at[info.ancestors].add(deviations)
    inflated = (out.scheme == "multinomial") | (info.resamplings == 0)
    exponent = jnp.where(inflated, info.resamplings + 1, 0).astype(values.dtype)
    variance = (count / (count - 1)) ** exponent * jnp.sum(families**2, axis=0)
    if out.strata:
        variance = jnp.where(info.resamplings == 0, stratified_variance(deviations, out.strata), variance)
    index, steps = tail_index(deviations), None
    if out.pair is not None:
        fine, coarse = (_sum(normalized(w), v) for w, v in zip(out.pair.weights, sides, strict=True))
        steps = out.pair.bar(fine, coarse).astype(variance.dtype)
        variance = variance + steps**2
    return Estimate(value, jnp.sqrt(variance), tail_index=index, steps=steps, heavy=threshold(count))


def _wide(values: Array, weights: Array) -> Array:
    """Floating numbers at least as precise as the weights."""
    fine = jnp.issubdtype(values.dtype, jnp.floating) and values.dtype.itemsize >= weights.dtype.itemsize
    return values if fine else values.astype(weights.dtype)


def _sum(weights: Array, values: Array) -> Array:
    """Σ W_i f_i, where f may be anything where no mass is."""
    mass = weights.reshape((weights.shape[0],) + (1,) * (values.ndim - 1))
    values = _wide(values, weights)
    return jnp.sum(jnp.where(mass == 0, jnp.zeros_like(values), mass.astype(values.dtype) * values), axis=0)


def _one_result(out: SMCResult) -> None:
    """Refuses what holds several runs, or none."""
    expect("out", out, SMCResult, "pass what run_smc returned; Replicates have their own .expectation(f) and .runs")
    require(
        out.log_weights.ndim == 1,
        f"out holds a batch of runs of shape {out.log_weights.shape[:-1]}; use jax.vmap, or take one of them.",
    )


@intended_transfers
def resample(key: Key, out: SMCResult, num: int) -> PyTree:
    """`num` particles of equal weight, in random order: systematic draws from the weighted population.

    Args:
        key: One typed key.
        out: From `run_smc`.
        num: How many, at least 1; duplicates appear once it nears the ESS.

    Raises:
        FkdiffError: The run failed, so that there is nothing to draw from.

    Gradients: refused, since a draw carries none of the weights'; average over the weighted population instead.
    """
    key, num = one_key(key), whole("num", num, 1, "how many particles to draw")
    _one_result(out)
    status = concrete(out.info.status)
    require(
        status is None or not failed(int(status)),
        f"nothing to draw from: {'' if status is None else SENTENCES.get(Status(int(status)), '')}.",
    )
    key_points, key_order = jax.random.split(key)
    u = jax.random.uniform(key_points, (), out.log_weights.dtype)
    chosen = systematic_ancestors(u, out.log_weights, num, REFUSAL)
    return take(out.particles, jax.random.permutation(key_order, chosen))
