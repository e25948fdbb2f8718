"""Values that are known now, and values that are being traced."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.core import Tracer


def concrete(value: Any) -> np.ndarray | None:
    """`value` as a NumPy array when it is known now; None while it is being traced."""
    return None if isinstance(value, Tracer) else np.asarray(value)


def traced(tree: Any) -> bool:
    """Whether any leaf of `tree` is being traced."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))
