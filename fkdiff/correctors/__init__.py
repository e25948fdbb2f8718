"""Feynman–Kac correctors: exact sampling of powers, products, guided and tilted versions of models.

Every rule builds one object, a `WeightedSDE`: an unnormalised path of densities

    log p̃_t = Σ β_i log q_{i,t} + r_t,

from which the velocity u and the weight rate g follow by one formula, never typed per rule.

- `rules`: `anneal`, `product`, `guidance`, `tilt`: what people ask for, closed under composition
- `weighted_sde`: `WeightedSDE`: factors, tilts and reference; `feynman_kac` turns it into a model to run
- `tilts`: `Tilt`: a ramped, differentiable reward with its space and time derivatives
- `reference`: the Gaussian phase in closed form: start, gauge, constants
- `rate`: u, g and the control columns at one particle
- `control`: the weighted least-squares problem that flattens the weights
- `steps`: euler, heun, rk4, exponential
- `refresh`: Langevin moves that separate duplicates after a resampling
- `population`: `Corrector`: the pieces as one population model
- `partition`: particles and plain draws of the models as one weighted population
- `safety`: the runs beside a run, which measure what it cannot see
- `finite`: `finite_steps`: exact weights at any number of steps, where densities are known
- `witness`: `witness`: what points from elsewhere would weigh: the search for modes that a run has missed
"""

from fkdiff.correctors._witness import Witnesses, witness
from fkdiff.correctors.finite import finite_steps
from fkdiff.correctors.population import Corrector
from fkdiff.correctors.rules import anneal, guidance, product, tilt
from fkdiff.correctors.tilts import Tilt
from fkdiff.correctors.weighted_sde import WeightedSDE
from fkdiff.lazy import renamed

__all__ = [
    "anneal", "Corrector", "finite_steps", "guidance", "product", "Tilt", "tilt", "WeightedSDE", "witness",
    "Witnesses",
]  # fmt: skip
__dir__ = __all__.copy  # completion shows these, and no modules

__getattr__ = renamed(__name__, {"freeze": "fkdiff.smc:freeze"})
