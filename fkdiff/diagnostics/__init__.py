"""Is it right, and how right could it be: chains, distances with their floors, modes, scores.

- `chains`: `summary`, `split_rhat`, `bulk_ess`, `tail_ess`, `mean_ess`, `mcse`
- `discrepancy`: `energy_distance`, `mmd`, `sliced_wasserstein`, `wasserstein`
- `floors`: `floored`: a distance beside the one that exact draws of the same number have
- `particles`: `nearest`, `mode_masses`, `mode_error`
- `score`: `fokker_planck`, `conservativity`: whether a learned score is one
"""

from fkdiff.diagnostics.chains import ChainSummary as ChainSummary
from fkdiff.diagnostics.chains import bulk_ess as bulk_ess
from fkdiff.diagnostics.chains import mcse as mcse
from fkdiff.diagnostics.chains import mean_ess as mean_ess
from fkdiff.diagnostics.chains import split_rhat as split_rhat
from fkdiff.diagnostics.chains import summary as summary
from fkdiff.diagnostics.chains import tail_ess as tail_ess
from fkdiff.diagnostics.discrepancy import energy_distance as energy_distance
from fkdiff.diagnostics.discrepancy import mmd as mmd
from fkdiff.diagnostics.discrepancy import sliced_wasserstein as sliced_wasserstein
from fkdiff.diagnostics.discrepancy import wasserstein as wasserstein
from fkdiff.diagnostics.floors import Floored as Floored
from fkdiff.diagnostics.floors import floored as floored
from fkdiff.diagnostics.particles import mode_error as mode_error
from fkdiff.diagnostics.particles import mode_masses as mode_masses
from fkdiff.diagnostics.particles import nearest as nearest
from fkdiff.diagnostics.score import Residual as Residual
from fkdiff.diagnostics.score import conservativity as conservativity
from fkdiff.diagnostics.score import fokker_planck as fokker_planck
