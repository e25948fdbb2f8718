"""Laws of kernels, found without drawing: noise goes in by hand, and the stationary law comes out by linear algebra."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from fkdiff.mcmc import noise

KEY = jax.random.key(0)


@contextlib.contextmanager
def injected(draws, u=0.5):
    """Inside, kernels take these draws, one after the other, and this uniform."""
    waiting = iter(draws)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise, "normal_like", lambda key, position: next(waiting))
        patch.setattr(noise, "uniform", lambda key, like: jnp.asarray(u, like.dtype))
        yield


def stepped(kernel, z, draws, u=0.5):
    """The step as a function of where it starts and of its noise."""
    with injected([d[None] for d in draws], u):
        state, _ = kernel.step(KEY, state_at(kernel, z))
    return jnp.concatenate([state.position, *([] if z.size == 1 else [state.velocity])])


def state_at(kernel, z):
    # `init` of underdamped kernels draws: its draw must not come out of the injected ones.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise, "normal_like", lambda key, position: jnp.zeros_like(position))
        state = kernel.init(KEY, z[:1])
    return state if z.size == 1 else state._replace(velocity=z[1:])


def affine(kernel, size, num_draws, u=0.5):
    """A and B of z' = A z + B ξ."""
    zero, draws = jnp.zeros(size), jnp.zeros(num_draws)
    a = jax.jacfwd(lambda z: stepped(kernel, z, draws, u))(zero)
    b = jax.jacfwd(lambda d: stepped(kernel, zero, d, u))(draws)
    return np.asarray(a), np.asarray(b)


def stationary_covariance(kernel, size, num_draws):
    """Σ = A Σ Aᵀ + B Bᵀ."""
    a, b = affine(kernel, size, num_draws)
    return scipy.linalg.solve_discrete_lyapunov(a, b @ b.T)


def stationary_variance_on_a_grid(kernel, half_width, points):
    """Variance of the stationary law of x' = m(x) + s(x) ξ, by the transition matrix between grid points."""
    x = np.linspace(-half_width, half_width, points)

    def moved(at, draw):
        return stepped(kernel, at[None], jnp.asarray([draw]))[0]

    mean = np.asarray(jax.vmap(lambda at: moved(at, 0.0))(jnp.asarray(x)))
    scale = np.asarray(jax.vmap(lambda at: moved(at, 1.0))(jnp.asarray(x))) - mean
    matrix = np.exp(-0.5 * ((x[None] - mean[:, None]) / scale[:, None]) ** 2)
    matrix /= matrix.sum(1, keepdims=True)
    system = np.vstack([(matrix.T - np.eye(points))[1:], np.ones(points)])
    law = np.linalg.solve(system, np.eye(points)[-1])
    return float(law @ x**2 - (law @ x) ** 2)
