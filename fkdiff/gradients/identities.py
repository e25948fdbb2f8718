"""Derivatives of log Z and of expectations, from draws alone: no derivative of a sampler is taken.

    ∂ log Z   = E[∂ log γ]                          Fisher's identity
    ∂ E[f]    = E[∂f] + Cov(f, ∂ log γ)             the covariance identity

γ(x, θ) is the unnormalised density that the draws have, E over it, ∂ the derivative in θ at fixed x. Differentiating
the sampler instead drops the derivative of every choice it makes (which ancestor, whether accepted).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from fkdiff.core import Array, FkdiffError, PyTree, chunk_size, require
from fkdiff.core.density import checked
from fkdiff.gradients.averages import Draws, average
from fkdiff.gradients.paths import Line
from fkdiff.smc import Estimate, Replicates, SMCResult


def log_normalizer(
    draws: Draws,
    log_density: Callable[[PyTree, PyTree], Array] | None = None,
    params: PyTree = None,
    log_start: Callable[[PyTree], Array] | None = None,
    chunk: int | None = None,
) -> PyTree:
    """∂ log Z/∂θ = Σ W_i ∂_θ log γ(x_i, θ), with its error.

        slope = fkdiff.gradients.log_normalizer(out, lambda x, theta: log_prior(x) + log_likelihood(x, theta), theta)

    For a tilt by λr it is ΣW r, for a power ΣW log q.

    Args:
        draws: Draws of γ(·, θ): what `run_smc` or `replicate` returned, or those of several chains,
            (num_steps, num_chains, …). Or a run of `fkdiff.gradients.along_paths`, whose particles carry the answer:
            then nothing else is given.
        log_density: `log_density(x, params) -> scalar`, log γ of ONE draw: all that depends on θ.
        params: θ at which the draws were made, any pytree of real arrays.
        log_start: `log_start(params) -> log Z_0`, where log Ẑ is relative to a start whose own mass depends on θ.
        chunk: Draws per call.

    Returns:
        A pytree like `params` of `Estimate`s (one that `jax.tree.map(lambda e: e.value, …)` takes apart). Bias of order
        1/N.

    Raises:
        FkdiffError: The density or the parameters are missing, or not real.

    Cost: one gradient in θ per draw.

    Gradients: right in `params`, of any order: ∂² log Z = E[∂² log γ] + Cov(∂ log γ). Into the draws they are refused,
    since `log_density` tells their law: pass `jax.lax.stop_gradient(draws)`.

    References: Cappé, Moulines and Rydén (2005), proposition 10.1.6.
    """
    if log_density is None:
        return _carried(draws)
    f, unravel, vector = _flat(log_density, params)
    score = average(draws, lambda x: jax.grad(f, argnums=1)(x, vector), chunk_size(chunk), lambda x: f(x, vector))
    value = score.value
    if log_start is not None:
        value = value - ravel_pytree(jax.grad(checked(log_start))(params))[0]
    return _estimates(value, score, unravel, ())


def expectation(
    draws: Draws,
    f: Callable[[PyTree, PyTree], Array],
    log_density: Callable[[PyTree, PyTree], Array],
    params: PyTree,
    chunk: int | None = None,
) -> PyTree:
    """∂E[f]/∂θ = E[∂f] + Cov(f, ∂ log γ), with its error: the answer where derivatives of a sampler are refused.

    Args:
        draws: As for `log_normalizer`.
        f: `f(x, params) -> array` of ONE draw; it need not depend on θ.
        log_density: `log_density(x, params) -> scalar`, log γ of ONE draw.
        params: θ at which the draws were made.
        chunk: Draws per call.

    Returns:
        A pytree like `params` of `Estimate`s of shape (*f.shape, *leaf.shape). Bias of order 1/N; the error is that of
        the influence function ∂f + (f − E f)(∂ log γ − E ∂ log γ).

    Raises:
        FkdiffError: As `log_normalizer`.

    Cost: two gradients in θ and a Jacobian of f per draw.

    Gradients: as those of `log_normalizer`: right in `params`, of any order, and refused into the draws.

    References: Gelman and Meng (1998), section 2.1; Giordano, Broderick and Jordan (2018), theorem 1.
    """
    density, unravel, vector = _flat(log_density, params)
    chunk = chunk_size(chunk)

    def score(x):
        return jax.grad(density, argnums=1)(x, vector)

    def value(x, flat):
        return jnp.asarray(f(x, unravel(flat)))

    shape = jax.eval_shape(value, _one(draws), vector).shape

    def log_gamma(x):
        return density(x, vector)

    both = average(draws, lambda x: jnp.concatenate([value(x, vector).ravel(), score(x)]), chunk, log_gamma).value
    size = both.shape[0] - vector.shape[0]
    mean, mean_score = both[:size], both[size:]

    def influence(x):
        pathwise = jax.jacobian(value, argnums=1)(x, vector).reshape(size, -1)
        return pathwise + (value(x, vector).ravel() - mean)[:, None] * (score(x) - mean_score)[None, :]

    found = average(draws, influence, chunk, log_gamma)
    return _estimates(found.value, found, unravel, shape)


def _flat(log_density, params):
    """The density as a function of (x, vector), the vector, and the way back."""
    require(
        callable(log_density),
        f"log_density={log_density!r} is not a function; pass log_density(x, params) -> scalar, all that depends on "
        "params.",
    )
    leaves = jax.tree.leaves(params)
    require(
        len(leaves) > 0 and all(jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves),
        f"params={params!r} must be a pytree of real numbers, to be differentiated by.",
    )
    vector, unravel = ravel_pytree(params)

    def density(x, flat):
        return checked(lambda p: log_density(x, p))(unravel(flat))

    return density, unravel, vector


def _one(draws: Draws) -> PyTree:
    """One draw of any kind."""
    if isinstance(draws, SMCResult | Replicates):
        lead = 1 if isinstance(draws, SMCResult) else 2
        draws = draws.particles if isinstance(draws, SMCResult) else draws.runs.particles
    else:
        lead = 2
    return jax.tree.map(lambda leaf: jnp.reshape(leaf, (-1, *jnp.shape(leaf)[lead:]))[0], draws)


def _estimates(value: Array, error: Estimate, unravel: Callable, shape: tuple[int, ...]) -> PyTree:
    """The flat answer (…, P) as a tree like the parameters of `Estimate`s."""

    def tree(flat):
        rows = flat.reshape(-1, flat.shape[-1])
        stacked = jax.vmap(unravel)(rows)
        return jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), stacked)

    parts = (tree(part) for part in (value, error.standard_error, error.tail_index))
    return jax.tree.map(lambda v, s, k: Estimate(v, s, error.dof, k, error.heavy), *parts)


def _carried(draws: Draws) -> PyTree:
    """The score that particles of `along_paths` carry."""
    particles = getattr(draws, "particles", getattr(getattr(draws, "runs", None), "particles", None))
    if not isinstance(particles, Line):
        raise FkdiffError(
            f"log_density is missing and a {type(draws).__name__} carries no score: pass log_density(x, params) and "
            "params, or run a model of fkdiff.gradients.along_paths."
        )
    leaves, tree = jax.tree.flatten(particles.score)
    found = [average(draws, lambda line, i=i: jax.tree.leaves(line.score)[i]) for i in range(len(leaves))]
    return jax.tree.unflatten(tree, found)
