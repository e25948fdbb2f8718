"""Networks: one stable function per architecture, and conditions that mean what they say."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fkdiff import grid, integrate, nn, paths, solvers
from fkdiff.core import FkdiffError
from fkdiff.nn.layers import dropped, fan_in
from fkdiff.prediction import Parameterization
from fkdiff.train.objectives.matching import batch_loss


def mlp(seed=0, num_classes=3, width=8):
    rngs = nnx.Rngs(params=jax.random.key(seed))
    return nn.functional(nn.MLP(5, width, 1, num_classes, rngs=rngs))


def unet(seed=0, num_classes=3, channels=4):
    rngs = nnx.Rngs(params=jax.random.key(seed))
    return nn.functional(nn.UNet((4, 8, 2), channels, 2, num_classes, rngs=rngs))


def wave(seed=0, num_classes=3, channels=4):
    rngs = nnx.Rngs(params=jax.random.key(seed))
    return nn.functional(nn.UNet((8, 2), channels, 2, num_classes, rngs=rngs))


def dit(seed=0, num_classes=3, width=8):
    rngs = nnx.Rngs(params=jax.random.key(seed))
    return nn.functional(nn.DiT((4, 6, 2), 2, width, 1, 2, num_classes, rngs=rngs))


NETWORKS = {"mlp": (mlp, (5,)), "unet": (unet, (4, 8, 2)), "wave": (wave, (8, 2)), "dit": (dit, (4, 6, 2))}


def awake(params, seed=7):
    """Parameters with every zero initialiser disturbed, so that every path through the network matters."""
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(tree, [p + jnp.asarray(0.3 * rng.normal(size=p.shape), p.dtype) for p in leaves])


@pytest.fixture(scope="module", params=["mlp", "unet", "dit", pytest.param("wave", marks=pytest.mark.slow)])
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


KINDS = ["mlp", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("wave", "unet", "dit"))]


def with_options(kind, **options):
    rngs = nnx.Rngs(params=jax.random.key(0))
    if kind == "mlp":
        return nn.functional(nn.MLP(5, 8, 1, rngs=rngs, **options))
    if kind == "dit":
        return nn.functional(nn.DiT((4, 6, 2), 2, 8, 1, 2, rngs=rngs, **options))
    return nn.functional(nn.UNet(NETWORKS[kind][1], 4, 2, rngs=rngs, **options))


@pytest.mark.parametrize("kind", KINDS)
def test_a_vector_may_be_the_condition_and_a_nan_in_it_means_none(kind):
    apply, params = with_options(kind, cond_size=2)
    params, x = awake(params), jnp.ones(NETWORKS[kind][1])
    run = jax.jit(lambda cond: apply(params, x, 0.4, cond))
    first, second = run(jnp.array([0.3, -1.0])), run(jnp.array([0.3, 1.0]))
    assert float(jnp.abs(first - second).max()) >= 1e-3
    np.testing.assert_allclose(run(jnp.array([jnp.nan, 1.0])), apply(params, x, 0.4, None), rtol=1e-5, atol=1e-6)
    slope = jax.grad(lambda cond: apply(params, x, 0.4, cond).sum())(jnp.array([0.3, jnp.nan]))
    assert float(jnp.abs(slope[0])) <= 0.0
    with pytest.raises(FkdiffError, match="reads"):
        apply(params, x, 0.4, jnp.ones(3))


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_happens_when_a_key_is_given_and_keeps_the_mean_of_what_it_drops(kind):
    apply, params = with_options(kind, dropout=0.5)
    params, x = awake(params), jnp.ones(NETWORKS[kind][1])
    run = jax.jit(lambda key: apply(params, x, 0.4, None, key=key))
    a, b, plain = run(jax.random.key(0)), run(jax.random.key(1)), apply(params, x, 0.4)
    assert float(jnp.abs(a - b).max()) >= 1e-5
    np.testing.assert_array_equal(a, run(jax.random.key(0)))
    np.testing.assert_array_equal(plain, apply(params, x, 0.4, None))
    kept = jax.vmap(lambda key: dropped(jnp.ones(10), 0.25, key))(jax.random.split(jax.random.key(2), 4000))
    # Six standard deviations of the mean of 40,000 entries of variance 1/3.
    assert abs(float(kept.mean()) - 1) <= 6 * np.sqrt(1 / 3 / 40_000)
    assert set(np.unique(np.asarray(kept)).tolist()) == {0.0, float(np.float32(1 / 0.75))}


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_inside_only(kind):
    build, shape = NETWORKS[kind]
    apply, params = build()
    params, x = awake(params), jnp.asarray(np.random.default_rng(3).normal(size=shape), jnp.float32)
    half = apply.computing_in("bfloat16")
    single, rough = jax.jit(apply)(params, x, 0.4, 1), jax.jit(half)(params, x, 0.4, 1)
    gradient = jax.grad(lambda p: (half(p, x, 0.4, 1) ** 2).sum())(params)
    assert rough.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype("float32")}
    gap = float(jnp.abs(rough - single).max() / jnp.abs(single).max())
    assert 1e-5 <= gap <= 0.1
    text = str(jax.make_jaxpr(half)(params, x, 0.4, 1))
    assert "bf16" in text


def test_a_patch_comes_back_to_where_it_was_cut():
    module = nn.DiT((4, 6, 2), 2, 8, 1, 2, rngs=nnx.Rngs(params=jax.random.key(0)))
    x = jnp.arange(48.0).reshape(4, 6, 2)
    patches = module._patches(x)
    np.testing.assert_array_equal(module._image(patches), x)
    np.testing.assert_array_equal(patches[1].reshape(2, 2, 2), x[:2, 2:4])


def test_a_network_of_any_framework_is_a_model():
    """An equinox module and a plain function, behind the same boundary as flax."""
    path = paths.linear()
    inside = eqx.nn.MLP(3, 2, 8, 1, key=jax.random.key(0))
    params, static = eqx.partition(inside, eqx.is_array)

    def of_equinox(params, x, t, cond):
        return eqx.combine(params, static)(jnp.concatenate([x, t[None].astype(x.dtype)]))

    def plain(params, x, t, cond):
        return params["scale"] * x

    form = Parameterization(path, "velocity")
    for apply, given in ((of_equinox, params), (plain, {"scale": jnp.array(0.3)})):
        pred = form.predictor(apply, given, (2,))
        draws = integrate(jax.random.key(1), pred, solvers.heun(), grid(4, path), 8)
        assert draws.shape == (8, 2)
        assert bool(jnp.isfinite(draws).all())
        loss = lambda p, apply=apply: batch_loss(jax.random.key(0), form, apply, p, jnp.ones((4, 2)), None)  # noqa: E731
        gradient = jax.tree.leaves(eqx.filter_grad(loss)(given))
        assert max(float(jnp.abs(leaf).max()) for leaf in gradient) > 0


def test_shapes_that_do_not_fit_are_refused():
    rngs = nnx.Rngs(params=jax.random.key(0))
    with pytest.raises(FkdiffError, match="patches of patch=3"):
        nn.DiT((4, 6, 1), 3, rngs=rngs)
    with pytest.raises(FkdiffError, match="has 4 axes"):
        nn.UNet((4, 4, 4, 1), rngs=rngs)
    with pytest.raises(FkdiffError, match="a class or a vector"):
        nn.MLP(4, num_classes=2, cond_size=3, rngs=rngs)


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
