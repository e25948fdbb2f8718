"""Operators against what they are named after, computed another way; and their decomposition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

import fkdiff as fk
from fkdiff import inverse_problems

RNG = np.random.default_rng(3)
KERNEL = np.array([[0.1, 0.5, 0.0], [0.2, 0.9, -0.3], [0.0, 0.4, 0.7]])  # no symmetry
KEEP = RNG.random((4, 6)) > 0.5
TALL = RNG.normal(size=(7, 3))


def block_means(x):
    return np.stack([[x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((0, 1)) for j in range(3)] for i in range(2)])


def blurred_channels(x):
    return np.stack([ndimage.convolve(x[..., c], KERNEL, mode="constant") for c in range(2)], axis=-1)


ROWS = {
    "matrix": (lambda: inverse_problems.matrix(TALL[:2]), lambda x: TALL[:2] @ x),
    "tall matrix": (lambda: inverse_problems.matrix(TALL), lambda x: TALL @ x),
    "matrix of pictures": (
        lambda: inverse_problems.matrix(TALL.T[:, :6], (2, 3)),
        lambda x: TALL.T[:, :6] @ x.reshape(-1),
    ),
    "rank one": (
        lambda: inverse_problems.matrix(np.outer([1.0, 2.0, 3.0], [1.0, -1.0])),
        lambda x: (x[0] - x[1]) * np.r_[1:4],
    ),
    "mask": (lambda: inverse_problems.mask(KEEP), lambda x: x[KEEP]),
    "blur": (lambda: inverse_problems.blur(KERNEL, (5, 4)), lambda x: ndimage.convolve(x, KERNEL, mode="constant")),
    "blur of a line": (
        lambda: inverse_problems.blur([0.2, 0.5, 0.9], (6,)),
        lambda x: np.convolve(x, [0.2, 0.5, 0.9], "same"),
    ),
    "blur of channels": (lambda: inverse_problems.blur(KERNEL, (5, 4, 2)), blurred_channels),
    "downsample": (lambda: inverse_problems.downsample(2, (4, 6)), block_means),
    "downsample of channels": (lambda: inverse_problems.downsample(2, (4, 6, 2)), block_means),
    "downsample of a line": (lambda: inverse_problems.downsample(3, (6,)), lambda x: x.reshape(2, 3).mean(axis=1)),
}


@pytest.mark.x64
@pytest.mark.parametrize("name", ROWS)
def test_operator_is_what_it_is_named_after(name):
    make, expected = ROWS[name]
    operator = make()
    x = RNG.normal(size=operator.shape)
    applied = operator.apply(jnp.asarray(x))
    assert applied.shape == operator.observed
    assert np.abs(np.asarray(applied) - expected(x)).max() <= 1e-12


def adjoint_gap(operator):
    """How far ⟨A x, y⟩ is from ⟨x, Aᵀ y⟩, and Aᵀ y from the transpose that JAX derives."""
    x, y = (jnp.asarray(np.random.default_rng(4).normal(size=s)) for s in (operator.shape, operator.observed))
    gap = jnp.sum(operator.apply(x) * y) - jnp.sum(x * operator.adjoint(y))
    return max(abs(float(gap)), float(jnp.abs(jax.vjp(operator.apply, x)[1](y)[0] - operator.adjoint(y)).max()))


@pytest.mark.x64
@pytest.mark.parametrize("name", ROWS)
def test_adjoint_is_the_transpose(name):
    assert adjoint_gap(ROWS[name][0]()) <= 1e-12


@pytest.mark.x64
def test_a_blur_that_is_taken_for_its_own_adjoint_is_seen(monkeypatch):
    monkeypatch.setattr(inverse_problems.LinearOperator, "adjoint", lambda self, y: self.apply(y))
    assert adjoint_gap(ROWS["blur"][0]()) > 1e-2


@pytest.mark.x64
@pytest.mark.parametrize("name", ROWS)
def test_singular_values_rebuild_the_matrix(name):
    operator = ROWS[name][0]()
    left, values, right = (np.asarray(v) for v in (operator.left, operator.singular, operator.right))
    assert np.abs(left @ (values[:, None] * right) - operator.matrix).max() <= 1e-12
    assert np.abs(left.T @ left - np.eye(len(left))).max() <= 1e-12
    rank = min(operator.matrix.shape)
    assert np.abs(right[:rank] @ right[:rank].T - np.eye(rank)).max() <= 1e-12
    assert np.all(np.diff(values) <= 1e-12)
    assert np.all(right[rank:] == 0)


def test_a_thousand_coordinates_are_decomposed_at_once():
    keep = np.zeros((32, 32), bool)
    keep[::2] = True
    operator = inverse_problems.mask(keep)
    x = jnp.arange(1024.0).reshape(32, 32)
    assert np.array_equal(operator.apply(x), np.asarray(x)[::2].reshape(-1))
    assert operator.singular.dtype == jnp.float32


SMALL = inverse_problems.downsample(2, (4, 4))
WRONG = {
    "vector": (lambda: inverse_problems.matrix(np.ones(3)), "A has shape (3,)"),
    "nan": (lambda: inverse_problems.matrix([[np.nan]]), "finite"),
    "words": (lambda: inverse_problems.matrix(np.array([["a"]])), "real numbers"),
    "shape of another size": (lambda: inverse_problems.matrix(np.ones((1, 4)), (2, 3)), "A has 4 columns"),
    "shape is a number": (lambda: inverse_problems.matrix(np.ones((1, 4)), 4), "shape of one example"),
    "traced": (lambda: jax.jit(lambda a: inverse_problems.matrix(a).matrix)(jnp.ones((2, 2))), "outside jit"),
    "too large": (lambda: inverse_problems.blur([1.0], (5000,)), "at most 4096"),
    "mask of numbers": (lambda: inverse_problems.mask(np.ones(3)), "must be Boolean"),
    "empty mask": (lambda: inverse_problems.mask(np.zeros(3, bool)), "nothing is observed"),
    "even kernel": (lambda: inverse_problems.blur(np.ones((2, 2)), (4, 4)), "odd sizes"),
    "kernel with more axes": (lambda: inverse_problems.blur(np.ones((3, 3)), (4,)), "kernel has shape (3, 3)"),
    "factor that does not divide": (lambda: inverse_problems.downsample(3, (4, 6)), "does not divide"),
    "factor zero": (lambda: inverse_problems.downsample(0, (4, 6)), "factor=0"),
    "apply to a batch": (lambda: SMALL.apply(jnp.ones((5, 4, 4))), "jax.vmap(operator.apply)"),
    "adjoint of an example": (lambda: SMALL.adjoint(jnp.ones((4, 4))), "observations of shape (2, 2)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_raise_one_sentence(case):
    wrong, words = WRONG[case]
    with pytest.raises(fk.FkdiffError) as raised:
        wrong()
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
