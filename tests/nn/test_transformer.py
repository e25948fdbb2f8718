"""The transformer: tokens in, logits out, masked places told apart by what stands beside them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fkdiff import nn
from fkdiff.core import FkdiffError
from fkdiff.nn.transformer import neighbours

V, L = 5, 7


def build(seed=0, heads=2, **options):
    return nn.functional(nn.Transformer(V, L, 8, 2, heads, rngs=nnx.Rngs(params=jax.random.key(seed)), **options))


def awake(params):
    """Parameters with every zero initialiser disturbed."""
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(7)
    return jax.tree.unflatten(tree, [p + jnp.asarray(0.3 * rng.normal(size=p.shape), p.dtype) for p in leaves])


APPLY, FRESH = build()
PARAMS = awake(FRESH)
TOKENS = jnp.array([[0, 4, 5, 5, 2, 1, 5], [5, 5, 5, 5, 5, 5, 5], [3, 3, 3, 1, 0, 5, 2]], jnp.int32)
RUN = jax.jit(jax.vmap(APPLY, (None, 0, 0, None)))
ONE = jax.jit(lambda params, tokens, t: APPLY(params, tokens, t, None))
T = jnp.array([0.2, 0.0, 0.9])


def test_a_new_network_predicts_every_token_alike():
    assert RUN(FRESH, TOKENS, T, None).shape == (3, L, V)
    assert float(jnp.abs(RUN(FRESH, TOKENS, T, None)).max()) <= 0.0


def test_equal_architectures_share_one_function():
    assert build(seed=1)[0] == APPLY
    assert hash(APPLY) == hash(build(seed=1)[0])
    assert build(heads=4)[0] != APPLY
    assert {leaf.dtype for leaf in jax.tree.leaves(FRESH)} == {jnp.dtype("float32")}


def test_vmap_is_a_loop_and_the_time_is_read_only_when_asked():
    together = RUN(PARAMS, TOKENS, T, None)
    alone = jnp.stack([ONE(PARAMS, TOKENS[i], T[i]) for i in range(3)])
    assert float(jnp.abs(together - alone).max()) <= 1e-4
    np.testing.assert_array_equal(together, RUN(PARAMS, TOKENS, T + 0.1, None))
    timed, params = build(timed=True)
    run = jax.jit(jax.vmap(timed, (None, 0, 0, None)))
    assert float(jnp.abs(run(awake(params), TOKENS, T, None) - run(awake(params), TOKENS, T + 0.1, None)).max()) >= 1e-3


def test_every_place_is_read_on_both_sides_and_places_are_told_apart():
    base = RUN(PARAMS, TOKENS, T, None)[0]
    for place in range(L):
        changed = TOKENS[:1].at[0, place].set((TOKENS[0, place] + 1) % V)
        moved = jnp.abs(RUN(PARAMS, changed, T[:1], None)[0] - base).max(1)
        assert float(moved.min()) >= 1e-5, place
    # The same tokens everywhere, and yet the end is not the middle.
    same = RUN(PARAMS, TOKENS, T, None)[1]
    reverse = RUN(PARAMS, TOKENS[:1, ::-1], T[:1], None)[0]
    assert float(jnp.abs(reverse[::-1] - base).max()) >= 1e-2
    assert float(jnp.abs(same[0] - same[3]).max()) <= 1e-4  # equal values average to themselves


def test_heads_start_out_at_their_own_neighbour():
    table = np.asarray(neighbours(jax.random.key(0), (2 * L - 1, 4)))
    assert (table.argmax(0) - (L - 1)).tolist() == [1, -1, 2, -2]
    # The row for offset j − i of query i and key j.
    apply, params = build(heads=2)
    values = awake(params)
    block = values["blocks"][0]
    block["bias"] = block["bias"].at[:].set(-1e9).at[L - 1 + 2].set(0.0)  # only the key two to the right
    values["blocks"][1]["bias"] = values["blocks"][1]["bias"].at[:].set(-1e9).at[L - 1].set(0.0)  # only itself
    run = jax.jit(lambda p, x: apply(p, x, 0.2, None))
    base = run(values, TOKENS[0])
    moved = jnp.abs(run(values, TOKENS[0].at[4].set(0)) - base).max(1)
    # The last two have no such key, and read all alike.
    assert set(np.flatnonzero(np.asarray(moved[:5]) > 1e-6).tolist()) == {2, 4}


def test_gradients_are_finite_and_every_parameter_is_used():
    gradient = jax.jit(jax.grad(lambda p: (RUN(p, TOKENS, T, None) ** 2).sum()))(PARAMS)
    for leaf in jax.tree.leaves(gradient):
        assert bool(jnp.isfinite(leaf).all())
        assert float(jnp.abs(leaf).max()) > 0


@pytest.mark.x64
def test_parameters_keep_their_precision_under_tokens():
    single = ONE(PARAMS, TOKENS[0], jnp.float32(0.3))
    double = ONE(jax.tree.map(lambda leaf: leaf.astype(jnp.float64), PARAMS), TOKENS[0], jnp.float64(0.3))
    assert single.dtype == jnp.float32
    assert double.dtype == jnp.float64
    assert float(jnp.abs(double - single.astype(jnp.float64)).max()) <= 1e-4


def test_a_token_outside_the_table_is_nan_where_anything_reads_it():
    for strange in (-1, V + 1):
        assert bool(jnp.isnan(ONE(PARAMS, TOKENS[0].at[2].set(strange), T[0])).all())


def test_what_does_not_fit_is_refused_in_words():
    with pytest.raises(FkdiffError, match=r"shape \(3, 7\) and this network reads \(7,\)"):
        APPLY(PARAMS, TOKENS, 0.2, None)
    with pytest.raises(FkdiffError, match="dtype float32; pass whole numbers"):
        APPLY(PARAMS, TOKENS[0].astype(jnp.float32), 0.2, None)
    with pytest.raises(FkdiffError, match="takes no cond"):
        APPLY(PARAMS, TOKENS[0], 0.2, 1)
    with pytest.raises(FkdiffError, match="not a multiple of heads=3"):
        build(heads=3)
    with pytest.raises(FkdiffError, match="pass timed=True"):
        build(num_classes=2)
