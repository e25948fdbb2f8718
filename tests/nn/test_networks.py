"""Networks: one stable function per architecture, and conditions that mean what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fkdiff import nn
from fkdiff.core import FkdiffError


def mlp(seed=0, num_classes=3, width=16):
    return nn.functional(nn.MLP(5, width, 2, num_classes, rngs=nnx.Rngs(params=jax.random.key(seed)))), (5,)


def unet(seed=0, num_classes=3, channels=4):
    rngs = nnx.Rngs(params=jax.random.key(seed))
    return nn.functional(nn.UNet((8, 4, 2), channels, 3, num_classes, rngs=rngs)), (8, 4, 2)


NETWORKS = {"mlp": mlp, "unet": unet}


def awake(params, seed=7):
    """Parameters with every zero initialiser disturbed, so that every path through the network matters."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    moved = [p + 0.3 * jax.random.normal(k, p.shape, p.dtype) for k, p in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, moved)


@pytest.mark.parametrize("name", NETWORKS)
def test_equal_architectures_share_one_function_and_one_trace(name):
    (first, p), shape = NETWORKS[name](0)
    (second, q), _ = NETWORKS[name](1)
    assert first == second
    assert hash(first) == hash(second)
    traces = []

    def counted(apply, params, x):
        traces.append(1)
        return apply(params, x, 0.4, None)

    run = jax.jit(counted, static_argnums=0)
    x = jnp.ones(shape)
    run(first, p, x)
    run(second, q, x)
    assert len(traces) == 1
    (other, r), _ = NETWORKS[name](0, 3, 8)
    assert other != first


@pytest.mark.parametrize("name", NETWORKS)
def test_a_new_network_predicts_zero(name):
    (apply, params), shape = NETWORKS[name]()
    assert float(jnp.abs(apply(params, jnp.ones(shape), 0.3, 1)).max()) <= 0.0


@pytest.mark.parametrize("name", NETWORKS)
def test_no_condition_is_the_last_row_and_every_label_its_own(name):
    (apply, params), shape = NETWORKS[name]()
    params = awake(params)
    x = jax.random.normal(jax.random.key(3), shape)
    outs = [np.asarray(apply(params, x, 0.4, label)) for label in (0, 1, 2, 3)]
    np.testing.assert_array_equal(np.asarray(apply(params, x, 0.4, None)), outs[3])
    for i in range(4):
        for j in range(i):
            assert np.abs(outs[i] - outs[j]).max() >= 1e-3


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("label", [4, -1])
def test_a_label_outside_the_table_is_nan_and_never_another_class(name, label):
    (apply, params), shape = NETWORKS[name]()
    out = jax.jit(apply)(awake(params), jnp.ones(shape), 0.4, jnp.int32(label))
    assert bool(jnp.isnan(out).all())


@pytest.mark.parametrize("name", NETWORKS)
def test_conditions_of_the_wrong_shape_are_refused(name):
    (apply, params), shape = NETWORKS[name]()
    with pytest.raises(FkdiffError, match="ONE whole number"):
        apply(params, jnp.ones(shape), 0.4, jnp.arange(3))
    (apply, params), shape = NETWORKS[name](0, 0)
    with pytest.raises(FkdiffError, match="takes no cond"):
        apply(params, jnp.ones(shape), 0.4, 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_vmap_is_a_loop_and_time_matters(name):
    (apply, params), shape = NETWORKS[name]()
    params = awake(params)
    x = jax.random.normal(jax.random.key(3), (3, *shape))
    t, label = jnp.array([-0.5, 0.1, 0.9]), jnp.array([2, 0, 3])
    together = jax.vmap(apply, (None, 0, 0, 0))(params, x, t, label)
    alone = jnp.stack([apply(params, x[i], t[i], label[i]) for i in range(3)])
    assert float(jnp.abs(together - alone).max()) <= 1e-5 * float(jnp.abs(alone).max())
    later = jax.vmap(apply, (None, 0, 0, 0))(params, x, t + 0.1, label)
    assert float(jnp.abs(later - together).max()) >= 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_in_parameters_position_and_time_are_finite_and_used(name):
    (apply, params), shape = NETWORKS[name]()
    x = jax.random.normal(jax.random.key(3), shape)

    def total(p, x, t):
        return (apply(p, x, t, 1) ** 2).sum()

    for tree in jax.grad(total, (0, 1, 2))(awake(params), x, 0.4):
        for leaf in jax.tree.leaves(tree):
            assert bool(jnp.isfinite(leaf).all())
            assert float(jnp.abs(leaf).max()) > 0
    # A constant image has equal channels after no layer: the norm of equal numbers is 0/0 without its floor.
    flat = jax.grad(total, (0, 1, 2))(jax.tree.map(jnp.zeros_like, params), jnp.zeros(shape), 0.4)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(flat))


@pytest.mark.x64
@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_of_a_checkpoint_follow_the_precision_of_the_sampler(name):
    (apply, params), shape = NETWORKS[name]()
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), awake(params))
    x = jax.random.normal(jax.random.key(3), shape, jnp.float64)
    assert apply(params, x, 0.4, 1).dtype == jnp.float64
    single = apply(params, x.astype(jnp.float32), 0.4, 1)
    assert single.dtype == jnp.float32
    assert float(jnp.abs(single.astype(jnp.float64) - apply(params, x, 0.4, 1)).max()) <= 1e-3


def test_an_image_that_cannot_be_halved_is_refused():
    with pytest.raises(FkdiffError, match="multiple of 4"):
        nn.UNet((6, 8, 1), 4, 3, rngs=nnx.Rngs(params=jax.random.key(0)))


def test_a_module_owns_parameters_only():
    for network in NETWORKS.values():
        (_, params), _ = network()
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
