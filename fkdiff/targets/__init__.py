"""Laws with exact facts: density, sampler, moments and, for mixtures, a `Predictor` on every path.

- `gaussian`: `gaussian`
- `mixture`: `gaussian_mixture`
- `bridged`: `bridged`: a two-sided interpolant between two mixtures
- `gmm40`: `gmm40`: forty far modes
- `student_t`: `student_t_mixture`: modes with heavy tails
- `funnel`: `funnel`: a scale that is itself random
- `banana`: `banana`: a bent normal law
- `many_well`: `many_well`: 2^pairs modes of known mass
- `double_wells`: `double_wells`: 2^d modes of equal mass
- `bayes`: `logistic_regression`, `eight_schools`: posteriors of real data
- `lattice`: `phi4`
- `clusters`: `double_well_4`, `lennard_jones_13`

The Ising model, and any other law on sequences, is in `fkdiff.discrete`.
"""

from fkdiff.targets._banana import Banana, banana
from fkdiff.targets._bridged import bridged
from fkdiff.targets._double_wells import DoubleWells, double_wells
from fkdiff.targets._funnel import Funnel, funnel
from fkdiff.targets._gaussian import Gaussian, gaussian
from fkdiff.targets._gmm40 import gmm40
from fkdiff.targets._many_well import ManyWell, many_well
from fkdiff.targets.bayes import EightSchools, LogisticRegression, eight_schools, logistic_regression
from fkdiff.targets.clusters import DoubleWell4, LennardJones13, centred, double_well_4, icosahedron, lennard_jones_13
from fkdiff.targets.lattice import Phi4, phi4
from fkdiff.targets.mixture import GaussianMixture, gaussian_mixture
from fkdiff.targets.student_t import StudentTMixture, student_t_mixture

__all__ = [
    "Banana", "banana", "bridged", "centred", "double_well_4", "double_wells", "DoubleWell4", "DoubleWells",
    "eight_schools", "EightSchools", "Funnel", "funnel", "Gaussian", "gaussian", "gaussian_mixture",
    "GaussianMixture", "gmm40", "icosahedron", "lennard_jones_13", "LennardJones13", "logistic_regression",
    "LogisticRegression", "many_well", "ManyWell", "Phi4", "phi4", "student_t_mixture", "StudentTMixture",
]  # fmt: skip
__dir__ = __all__.copy  # completion shows these, and no modules
