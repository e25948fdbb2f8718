"""Gaussian paths from noise (t = 0) to data (t = 1), and the time grids that samplers walk.

- `base`: `Path`: x_t = α(t) clean + σ(t) noise, with every rate derived from log α and log σ
- `schedules`: `variance_preserving`, `cosine`, `variance_exploding`, `linear`
- `tables`: `from_alphas_cumprod`, `from_sigmas`: the schedule that somebody else's model was trained on
- `interpolants`: `interpolant`: from draws of one law to draws of another
- `grids`: `grid`
"""

from fkdiff.paths.base import Path
from fkdiff.paths.grids import grid
from fkdiff.paths.interpolants import interpolant
from fkdiff.paths.schedules import cosine, linear, variance_exploding, variance_preserving
from fkdiff.paths.tables import from_alphas_cumprod, from_sigmas

__all__ = [
    "cosine", "from_alphas_cumprod", "from_sigmas", "grid", "interpolant", "linear", "Path", "variance_exploding",
    "variance_preserving",
]  # fmt: skip
__dir__ = __all__.copy  # completion shows these, and no modules
