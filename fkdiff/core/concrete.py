"""Values that are known now, and values that are being traced."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np


def concrete(value: Any) -> np.ndarray | None:
    """`value` as a NumPy array when it is known now; None while it is being traced."""
    return None if isinstance(value, jax.core.Tracer) else np.asarray(value)
