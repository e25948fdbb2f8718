"""Unnormalised log-densities as sums of weighted terms, evaluated once and recombined at will.

A Markov kernel asks a density for everything it needs at a position in one call and keeps the answer in its state:
every term's value and gradient, unweighted. Another temperature is another set of weights on the same answer, so a
population that is tempered, resampled and moved never evaluates a density twice at one place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from fkdiff.core.arguments import number
from fkdiff.core.precision import wide_dtype
from fkdiff.core.types import Array, PyTree, Scalar
from fkdiff.errors import FkdiffError, require


class Evaluation(NamedTuple):
    """A density's terms at one position.

    Attributes:
        values: Of each term, scalars.
        grads: Gradient of each term, pytrees like the position; None where none was asked for.
    """

    values: tuple[Array, ...]
    grads: tuple[PyTree, ...] | None


class LogDensity(eqx.Module):
    """Σ_i w_i ℓ_i(x): log of an unnormalised density for ONE position, any pytree of real arrays.

    Attributes:
        terms: ℓ_i, functions of the position; themselves pytrees.
        weights: w_i, leaves: another weight compiles nothing. A term of weight 0 is left out, also where it is −∞.
    """

    terms: tuple[Callable[[PyTree], Array], ...]
    weights: tuple[Array, ...]

    def evaluate(self, position: PyTree, gradient: bool = True) -> Evaluation:
        """Every term, unweighted. Cost: one evaluation of each, with its gradient if asked for."""
        scalars = [checked(term) for term in self.terms]
        if not gradient:
            return Evaluation(tuple(term(position) for term in scalars), None)
        pairs = [jax.value_and_grad(term)(position) for term in scalars]
        return Evaluation(tuple(value for value, _ in pairs), tuple(grad for _, grad in pairs))

    def value(self, at: Evaluation) -> Array:
        """log-density from what was evaluated, added up in at least float32."""
        parts = [jnp.where(w == 0, 0, w * v) for w, v in self._weighted(at.values)]
        return sum(parts[1:], parts[0])

    def grad(self, at: Evaluation) -> PyTree:
        """Its gradient, likewise."""
        require(at.grads is not None, "this position was evaluated without gradients; use evaluate(position).")
        weighted = [
            jax.tree.map(lambda g, w=w: jnp.where(w == 0, 0, w.astype(g.dtype) * g), grad)
            for w, grad in zip(self.weights, at.grads or (), strict=True)
        ]
        return jax.tree.map(lambda first, *rest: sum(rest, first), *weighted)

    def __call__(self, position: PyTree) -> Array:
        """log-density at a position."""
        return self.value(self.evaluate(position, gradient=False))

    def _weighted(self, values: tuple[Array, ...]) -> list[tuple[Array, Array]]:
        dtype = wide_dtype(values)
        return [(w.astype(dtype), v.astype(dtype)) for w, v in zip(self.weights, values, strict=True)]


def log_density(*terms: Callable[[PyTree], Array], weights: tuple[Scalar, ...] | None = None) -> LogDensity:
    """Σ w_i ℓ_i as a `LogDensity`; a single one is returned as it is.

    Args:
        terms: Functions of ONE position that return a real scalar.
        weights: One each; 1 by default.

    Raises:
        FkdiffError: A term is not a function, or weights and terms differ in number.
    """
    if len(terms) == 1 and isinstance(terms[0], LogDensity) and weights is None:
        return terms[0]
    for i, term in enumerate(terms):
        require(callable(term), f"log_density[{i}]={term!r} is not a function; pass log_density(x) -> scalar.")
    weights = (1.0,) * len(terms) if weights is None else weights
    require(
        len(weights) == len(terms) > 0, f"weights has {len(weights)} entries for {len(terms)} terms; pass one each."
    )
    return LogDensity(terms, tuple(number(f"weights[{i}]", w) for i, w in enumerate(weights)))


def checked(term: Callable[[PyTree], Any]) -> Callable[[PyTree], Array]:
    """The term, refusing an answer that is no real scalar and a position that is not made of real arrays."""

    def one(position: PyTree) -> Array:
        for leaf in jax.tree.leaves(position):
            if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
                raise FkdiffError(
                    f"the position has a leaf of dtype {jnp.result_type(leaf)}; a density with a gradient lives on "
                    "real numbers: pass floating-point arrays."
                )
        out = jnp.asarray(term(position))
        require(
            out.shape == () and jnp.issubdtype(out.dtype, jnp.floating),
            f"the log-density returned shape {out.shape} and dtype {out.dtype} for ONE position; it must return one "
            "real number.",
        )
        return out

    return one
