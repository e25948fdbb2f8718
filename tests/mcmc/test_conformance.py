"""What every kernel promises, one row of `mcmc_table` each."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fkdiff import FkdiffError, Kernel
from tests.mcmc.mcmc_table import KERNELS, POSITION, QUICK, counter_of

KEY = jax.random.key(3)
ROWS = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in KERNELS]


def same(a, b, tolerance=0.0):
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(
        bool(np.all(np.abs(np.asarray(x, dtype=float) - np.asarray(y, dtype=float)) <= tolerance)) for x, y in leaves
    )


@pytest.mark.parametrize("name", ROWS)
def test_one_trace_the_same_types_and_the_key(name):
    make, _ = KERNELS[name]
    counter = counter_of(name)

    @eqx.filter_jit
    def three(key, kernel, position):
        """A scan, so the state's types are kept; the position is any pytree."""
        state = kernel.init(jax.random.fold_in(key, 99), position)
        return jax.lax.scan(lambda s, i: kernel.step(jax.random.fold_in(key, i), s), state, jnp.arange(3))

    kernel = make(counter, 0.1)
    assert isinstance(kernel, Kernel)
    state, info = three(KEY, kernel, POSITION)
    traced = counter.traces
    assert jax.tree.structure(state.position) == jax.tree.structure(POSITION)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(state.position))
    assert info.divergent.shape == (3,)
    again, _ = three(KEY, make(counter, 0.1), POSITION)
    assert same(state, again)
    other, _ = three(jax.random.key(4), kernel, POSITION)
    longer, _ = three(KEY, make(counter, 0.2), POSITION)
    assert traced == counter.traces > 0
    assert not same(state.position, other.position)
    assert not same(state.position, longer.position)


@pytest.mark.parametrize("name", ROWS)
def test_the_stated_gradient(name):
    make, stated = KERNELS[name]
    counter = counter_of(name)
    assert make(counter, 0.1).gradient == stated

    def last(step_size):
        kernel = make(counter, step_size)
        state, _ = kernel.step(KEY, kernel.init(KEY, POSITION))
        return state.position["b"] + jnp.sum(state.position["a"])

    if stated == "refused":
        with pytest.raises(FkdiffError, match=r"fkdiff\.gradients\.expectation"):
            jax.grad(last)(0.1)
        return
    slope = float(jax.grad(last)(0.1))
    width = 1e-2
    difference = float(last(0.1 + width) - last(0.1 - width)) / (2 * width)
    assert abs(slope - difference) <= 2e-2 * (1 + abs(difference))


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_vmap_is_a_loop(name):
    make, _ = KERNELS[name]
    kernel = make(counter_of(name), 0.1)
    keys = jax.random.split(KEY, 3)
    positions = jax.tree.map(lambda leaf: leaf[None] + jnp.arange(3.0).reshape((3,) + (1,) * leaf.ndim) / 10, POSITION)

    @jax.jit
    def step(key, position):
        return kernel.step(key, kernel.init(key, position))

    together = jax.jit(jax.vmap(step))(keys, positions)
    for i in range(3):
        alone = step(keys[i], jax.tree.map(lambda leaf, i=i: leaf[i], positions))
        assert same(alone, jax.tree.map(lambda leaf, i=i: leaf[i], together), 1e-5)


@pytest.mark.slow
@pytest.mark.x64
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_dtype_is_kept_under_double_precision(name, dtype):
    make, _ = KERNELS[name]
    kernel = make(counter_of(name), 0.1)
    position = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=dtype), POSITION)
    state = kernel.init(KEY, position)
    for key in jax.random.split(KEY, 2):
        state, _ = kernel.step(key, state)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(state.position))
