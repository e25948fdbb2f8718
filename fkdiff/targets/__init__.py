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

from fkdiff.targets.banana import Banana as Banana
from fkdiff.targets.banana import banana as banana
from fkdiff.targets.bayes import EightSchools as EightSchools
from fkdiff.targets.bayes import LogisticRegression as LogisticRegression
from fkdiff.targets.bayes import eight_schools as eight_schools
from fkdiff.targets.bayes import logistic_regression as logistic_regression
from fkdiff.targets.bridged import bridged as bridged
from fkdiff.targets.clusters import DoubleWell4 as DoubleWell4
from fkdiff.targets.clusters import LennardJones13 as LennardJones13
from fkdiff.targets.clusters import centred as centred
from fkdiff.targets.clusters import double_well_4 as double_well_4
from fkdiff.targets.clusters import icosahedron as icosahedron
from fkdiff.targets.clusters import lennard_jones_13 as lennard_jones_13
from fkdiff.targets.double_wells import DoubleWells as DoubleWells
from fkdiff.targets.double_wells import double_wells as double_wells
from fkdiff.targets.funnel import Funnel as Funnel
from fkdiff.targets.funnel import funnel as funnel
from fkdiff.targets.gaussian import Gaussian as Gaussian
from fkdiff.targets.gaussian import gaussian as gaussian
from fkdiff.targets.gmm40 import gmm40 as gmm40
from fkdiff.targets.lattice import Phi4 as Phi4
from fkdiff.targets.lattice import phi4 as phi4
from fkdiff.targets.many_well import ManyWell as ManyWell
from fkdiff.targets.many_well import many_well as many_well
from fkdiff.targets.mixture import GaussianMixture as GaussianMixture
from fkdiff.targets.mixture import gaussian_mixture as gaussian_mixture
from fkdiff.targets.student_t import StudentTMixture as StudentTMixture
from fkdiff.targets.student_t import student_t_mixture as student_t_mixture
