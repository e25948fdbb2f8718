"""Rewards that JAX cannot trace: any Python function of a batch, called between compiled steps by `fkdiff.drive`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np

from fkdiff.core import Array, FkdiffError, PyTree, require


class HostReward(eqx.Module):
    """See `host`."""

    function: Callable[[Any], Any] = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        raise FkdiffError(
            "a host reward runs between compiled steps; use fkdiff.drive(key, model, grid) in place of run_smc."
        )

    def batch(self, examples: PyTree) -> np.ndarray:
        """Rewards of a whole batch, (N,), refused unless they are one real number each."""
        examples = jax.tree.map(np.asarray, examples)
        count = len(jax.tree.leaves(examples)[0])
        found = np.asarray(self.function(examples))
        require(
            found.shape == (count,) and found.dtype.kind in "fiub",
            f"the host reward returned shape {found.shape} and dtype {found.dtype} for {count} examples; it "
            "must return one real number in nats per example.",
        )
        return found


def host(function: Callable[[Any], Any]) -> HostReward:
    """A reward in plain Python: `function(batch) -> rewards`, NumPy in, one number in nats per example out.

    It may call anything: another framework, a simulator, a web of rules. `fkdiff.steer` and `fkdiff.smc.rewarded` then
    give a model for `fkdiff.drive`.

    Args:
        function: Takes examples (N, *shape) and returns N numbers. Called K + 2 times in a run of K steps, and once
            under potential "terminal"; with n draws as the value estimate the batch on the way has n N examples.
    """
    require(callable(function), f"function={function!r} is not a function; pass function(batch) -> rewards.")
    return HostReward(function)
