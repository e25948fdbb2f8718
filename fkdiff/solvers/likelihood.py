"""Log-density of a model's samples: its probability flow and the flow's divergence, integrated together."""

from __future__ import annotations

from collections.abc import Callable

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fkdiff.core import (
    Array,
    Key,
    Scalar,
    choose,
    chunk_size,
    chunked_vmap,
    concrete,
    number,
    one_key,
    require,
    stream,
    whole,
)
from fkdiff.core.keys import Use
from fkdiff.prediction import Predictor
from fkdiff.solvers.base import check_model
from fkdiff.solvers.reference import as_reference, spread

LOG_2PI = 1.8378770664093453


def _basis(key: Key | None, index: Array, size: int, num_probes: int) -> Array:
    return jnp.eye(size, dtype=jnp.result_type(float))


def _probes(key: Key, index: Array, size: int, num_probes: int) -> Array:
    # Fixed along the trajectory: an adaptive solver needs a vector field that does not change under it.
    shape, dtype = (num_probes, size), jnp.result_type(float)
    return jax.random.rademacher(jax.random.fold_in(key, index), shape, dtype) / jnp.sqrt(
        jnp.asarray(num_probes, dtype)
    )


# Both estimate the trace of J as Σ_k z_kᵀ J z_k; they differ in the vectors z alone.
DIVERGENCES: dict[str, Callable] = {"exact": _basis, "hutchinson": _probes}


def log_prob(
    pred: Predictor,
    x: Array,
    key: Key | None = None,
    divergence: str = "exact",
    num_probes: int = 1,
    rtol: Scalar = 1e-5,
    atol: Scalar = 1e-5,
    reference: tuple = (0.0, 1.0),
    max_steps: int = 4096,
    chunk: int | None = None,
) -> Array:
    """Log-density in nats, at t_max, of the law that the probability flow carries there from the start.

        log q(x) = log N(x_{t_min}; α m, (α²ς² + σ²) I) − ∫ ∇·velocity(x_t, t) dt,     dx_t/dt = velocity

    It is the law that `integrate` samples with a deterministic solver in the limit of small steps: normalised
    for any model, learned ones included. Against an exact model it errs by how far x_{t_min} is from
    the start's Gaussian: O(α) at t_min, O(α²) when the reference is the mean and variance of the data.

    Args:
        pred: The model.
        x: Positions at t_max, shape (n, *pred.shape).
        key: A typed key, for "hutchinson" alone; example i has its own probes.
        divergence: "exact" (d jvps), or "hutchinson" (`num_probes` jvps, unbiased Rademacher estimate).
        num_probes: Probes per example.
        rtol: Relative tolerance per step.
        atol: Absolute tolerance per step, in the unit of x and in nats.
        reference: (m, ς²), mean and variance of the data, each a scalar or of the shape of one example.
        max_steps: Largest number of steps per example.
        chunk: At most this many examples at a time; bounds memory and changes no result.

    Returns:
        Shape (n,). Where the solver fails: NaN under `jit`, an error outside.

    Raises:
        FkdiffError: A wrong shape or name, a missing key, or a solver that ran out of steps.

    Cost: 6 evaluations with as many × d (or × num_probes) jvps per adaptive step of Tsit5.

    Gradients: pathwise, by the discretised flow with recursive checkpoints.

    References:
        Chen, Rubanova, Bettencourt and Duvenaud (2018), eq. 8; Grathwohl et al. (2019), eq. 7; Song et al.
        (2021), eq. 39; Tsitouras (2011).
    """
    choose("divergence", divergence, DIVERGENCES)
    pred = check_model(pred)
    x = jnp.asarray(x)
    require(
        x.ndim == len(pred.shape) + 1 and x.shape[1:] == pred.shape,
        f"x has shape {x.shape}; pass a batch of positions, (n, *{pred.shape}).",
    )
    require(
        key is not None or divergence == "exact",
        'key=None with divergence="hutchinson"; pass a key for its probes, or use divergence="exact".',
    )
    key = None if key is None else one_key(key)
    num_probes, max_steps = whole("num_probes", num_probes), whole("max_steps", max_steps)
    chunk = chunk_size(chunk)
    tolerances = (number("rtol", rtol, 0.0), number("atol", atol, 0.0))
    values, failed = _run(key, pred, x, tolerances, as_reference(reference), divergence, num_probes, max_steps, chunk)
    known = concrete(failed)
    if known is not None:
        require(
            not known.any(),
            f"log_prob failed on {known.sum()} of {known.size} examples: the flow needs more than max_steps="
            f"{max_steps} steps or is not finite; raise max_steps, or loosen rtol and atol.",
        )
    return values


@eqx.filter_jit
def _run(key, pred, x, tolerances, reference, divergence, num_probes, max_steps, chunk):
    key = None if key is None else stream(key, Use.PROBE)
    path, size = pred.path, int(np.prod(pred.shape))
    rtol, atol = tolerances

    def field(t: Array, y: tuple[Array, Array], vectors: Array) -> tuple[Array, Array]:
        velocity, along = jax.linearize(lambda x: pred(x, t).velocity, y[0])
        images = jax.vmap(along)(vectors)
        return velocity, (vectors * images).sum()

    def one(index: Array, position: Array) -> tuple[Array, Array]:
        vectors = DIVERGENCES[divergence](key, index, size, num_probes).reshape(-1, *pred.shape)
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field),  # pyright: ignore[reportArgumentType]
            diffrax.Tsit5(),
            t0=path.t_max,
            t1=path.t_min,
            dt0=None,
            y0=(position, jnp.zeros((), position.dtype)),
            args=vectors,
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
            max_steps=max_steps,
            throw=False,
        )
        start, minus_divergence = jax.tree.map(lambda leaf: leaf[-1], solution.ys)
        mean, variance = reference
        variance = spread(path, path.t_min, variance)
        quadratic = (start - path.alpha(path.t_min) * mean) ** 2 / variance + jnp.log(variance) + LOG_2PI
        value = minus_divergence - 0.5 * quadratic.sum()
        failed = (solution.result != diffrax.RESULTS.successful) | ~jnp.isfinite(value)
        return jnp.where(failed, jnp.nan, value), failed

    return chunked_vmap(one, chunk)(jnp.arange(x.shape[0]), x)
