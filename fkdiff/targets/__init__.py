"""Laws with exact facts: density, sampler, moments and a `Predictor` on every path.

- `gaussian`: `gaussian`
- `mixture`: `gaussian_mixture`
"""

from fkdiff.targets.gaussian import Gaussian as Gaussian
from fkdiff.targets.gaussian import gaussian as gaussian
from fkdiff.targets.mixture import GaussianMixture as GaussianMixture
from fkdiff.targets.mixture import gaussian_mixture as gaussian_mixture
