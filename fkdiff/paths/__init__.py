"""Gaussian paths from noise (t = 0) to data (t = 1), and the time grids that samplers walk.

- `base`: `Path`: x_t = α(t) clean + σ(t) noise, with every rate derived from log α and log σ
- `schedules`: `variance_preserving`, `cosine`, `variance_exploding`, `linear`
- `tables`: `from_alphas_cumprod`, `from_sigmas`: the schedule that somebody else's model was trained on
- `interpolants`: `interpolant`: from draws of one law to draws of another
- `grids`: `grid`
"""

from fkdiff.paths.base import Path as Path
from fkdiff.paths.grids import grid as grid
from fkdiff.paths.interpolants import interpolant as interpolant
from fkdiff.paths.schedules import cosine as cosine
from fkdiff.paths.schedules import linear as linear
from fkdiff.paths.schedules import variance_exploding as variance_exploding
from fkdiff.paths.schedules import variance_preserving as variance_preserving
from fkdiff.paths.tables import from_alphas_cumprod as from_alphas_cumprod
from fkdiff.paths.tables import from_sigmas as from_sigmas
