"""Networks: one stable function per architecture, and conditions that mean what they say."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fkdiff import nn
from fkdiff.core import FkdiffError
from fkdiff.nn.layers import fan_in


def mlp(seed=0, num_classes=3, width=8):
    rngs = nnx.Rngs(params=jax.random.key(seed))
    return nn.functional(nn.MLP(5, width, 1, num_classes, rngs=rngs))


def unet(seed=0, num_classes=3, channels=4):
    rngs = nnx.Rngs(params=jax.random.key(seed))
    return nn.functional(nn.UNet((4, 8, 2), channels, 2, num_classes, rngs=rngs))


NETWORKS = {"mlp": (mlp, (5,)), "unet": (unet, (4, 8, 2))}


def awake(params, seed=7):
    """Parameters with every zero initialiser disturbed, so that every path through the network matters."""
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(tree, [p + jnp.asarray(0.3 * rng.normal(size=p.shape), p.dtype) for p in leaves])


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    """(build, apply, compiled apply of a batch, disturbed parameters, a batch of three positions)."""
    build, shape = NETWORKS[request.param]
    apply, params = build()
    x = jnp.asarray(np.random.default_rng(3).normal(size=(3, *shape)), jnp.float32)
    return build, apply, jax.jit(jax.vmap(apply, (None, 0, 0, 0))), params, awake(params), x


def test_equal_architectures_share_one_function(network):
    build, apply, _, params, _, _ = network
    second, other = build(seed=1)
    assert apply == second
    assert hash(apply) == hash(second)
    assert any(bool((a != b).any()) for a, b in zip(*map(jax.tree.leaves, (params, other)), strict=True))
    assert build(0, 4)[0] != apply


def test_another_draw_of_the_parameters_traces_nothing():
    apply, params = mlp()
    x = jnp.ones(5)
    traces = []

    @functools.partial(jax.jit, static_argnums=0)
    def counted(apply, params, x):
        traces.append(1)
        return apply(params, x, 0.4, None)

    counted(apply, params, x)
    counted(*mlp(seed=1), x)
    assert len(traces) == 1


def test_a_new_network_predicts_zero(network):
    _, _, run, params, _, x = network
    assert float(jnp.abs(run(params, x, jnp.full(3, 0.3), jnp.arange(3))).max()) <= 0.0


def test_no_condition_is_the_last_row_and_every_label_its_own(network):
    _, apply, run, _, params, x = network
    same, t = jnp.stack([x[0]] * 3), jnp.full(3, 0.4)
    outs = np.concatenate([run(params, same, t, jnp.arange(3)), run(params, same, t, jnp.full(3, 3))[:1]])
    none = np.asarray(jax.jit(lambda p, x: apply(p, x, 0.4, None))(params, x[0]))
    assert np.abs(none - outs[3]).max() <= 1e-5 * np.abs(none).max()
    for i in range(4):
        for j in range(i):
            assert np.abs(outs[i] - outs[j]).max() >= 1e-3


def test_a_label_outside_the_table_is_nan_and_never_another_class(network):
    _, _, run, _, params, x = network
    out = run(params, x, jnp.full(3, 0.4), jnp.array([4, -1, 2]))
    assert bool(jnp.isnan(out[:2]).all())
    assert bool(jnp.isfinite(out[2]).all())


def test_conditions_of_the_wrong_shape_are_refused(network):
    build, apply, _, params, _, x = network
    with pytest.raises(FkdiffError, match="ONE whole number"):
        apply(params, x[0], 0.4, jnp.arange(3))
    apply, params = build(0, 0)
    with pytest.raises(FkdiffError, match="takes no cond"):
        apply(params, x[0], 0.4, 1)


def test_vmap_is_a_loop_and_time_matters(network):
    _, apply, run, _, params, x = network
    t, label = jnp.array([-0.5, 0.1, 0.9]), jnp.array([2, 0, 3])
    together = run(params, x, t, label)
    one = jax.jit(apply)
    alone = jnp.stack([one(params, x[i], t[i], label[i]) for i in range(3)])
    assert float(jnp.abs(together - alone).max()) <= 1e-5 * float(jnp.abs(alone).max())
    assert float(jnp.abs(run(params, x, t + 0.1, label) - together).max()) >= 1e-3


def test_gradients_in_parameters_position_and_time_are_finite_and_used(network):
    _, apply, _, params, moved, x = network
    gradient = jax.jit(jax.grad(lambda p, x, t: (apply(p, x, t, 1) ** 2).sum(), (0, 1, 2)))
    for leaf in jax.tree.leaves(gradient(moved, x[0], 0.4)):
        assert bool(jnp.isfinite(leaf).all())
        assert float(jnp.abs(leaf).max()) > 0
    # Where everything is zero the norm is 0/0 but for its floor.
    flat = gradient(jax.tree.map(jnp.zeros_like, params), jnp.zeros_like(x[0]), 0.4)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(flat))


@pytest.mark.x64
def test_parameters_of_a_checkpoint_follow_the_precision_of_the_sampler():
    apply, params = mlp()
    params = awake(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params))
    run = jax.jit(jax.vmap(apply, (None, 0, 0, 0)))
    x, t = jnp.asarray(np.random.default_rng(3).normal(size=(3, 5))), jnp.full(3, 0.4)
    single = run(params, x.astype(jnp.float32), t.astype(jnp.float32), jnp.arange(3))
    double = run(params, x, t, jnp.arange(3))
    assert single.dtype == jnp.float32
    assert double.dtype == jnp.float64
    assert float(jnp.abs(single.astype(jnp.float64) - double).max()) <= 1e-4 * float(jnp.abs(double).max())


def test_an_image_that_cannot_be_halved_is_refused():
    with pytest.raises(FkdiffError, match="multiple of 4"):
        nn.UNet((6, 8, 1), 4, 3, rngs=nnx.Rngs(params=jax.random.key(0)))


def test_a_module_owns_single_precision_parameters_only(network):
    assert {leaf.dtype for leaf in jax.tree.leaves(network[3])} == {jnp.dtype("float32")}


def test_initial_layers_keep_the_variance():
    kernel = fan_in(jax.random.key(0), (3, 3, 40, 128))
    # Six standard deviations of the sample variance of n normals.
    assert abs(float((kernel**2).mean()) * 360 - 1) <= 6 * np.sqrt(2 / kernel.size)
    assert abs(float(kernel.mean())) * np.sqrt(360 * kernel.size) <= 6
    # Entries more than one block apart are not copies of each other.
    flat = kernel.reshape(-1)
    assert abs(float((flat[: 1 << 14] * flat[1 << 14 : 2 << 14]).mean()) * 360) <= 6 / np.sqrt(1 << 14)
    assert bool((fan_in(jax.random.key(0), (9, 9)) == fan_in(jax.random.key(0), (9, 9))).all())
    assert bool((fan_in(jax.random.key(0), (9, 9)) != fan_in(jax.random.key(1), (9, 9))).any())
