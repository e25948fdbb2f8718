"""Is it right, and how right could it be: chains, distances with their floors, modes, scores.

- `chains`: `summary`, `split_rhat`, `bulk_ess`, `tail_ess`, `mean_ess`, `mcse`
- `discrepancy`: `energy_distance`, `mmd`, `sliced_wasserstein`, `wasserstein`
- `floors`: `floored`: a distance beside the one that exact draws of the same number have
- `particles`: `nearest`, `mode_masses`, `mode_error`
- `score`: `fokker_planck`, `conservativity`: whether a learned score is one
"""

from fkdiff.diagnostics.chains import ChainSummary, bulk_ess, mcse, mean_ess, split_rhat, summary, tail_ess
from fkdiff.diagnostics.discrepancy import energy_distance, mmd, sliced_wasserstein, wasserstein
from fkdiff.diagnostics.floors import Floored, floored
from fkdiff.diagnostics.particles import mode_error, mode_masses, nearest
from fkdiff.diagnostics.score import Residual, conservativity, fokker_planck

__all__ = [
    "bulk_ess", "ChainSummary", "conservativity", "energy_distance", "Floored", "floored", "fokker_planck", "mcse",
    "mean_ess", "mmd", "mode_error", "mode_masses", "nearest", "Residual", "sliced_wasserstein", "split_rhat",
    "summary", "tail_ess", "wasserstein",
]  # fmt: skip
__dir__ = __all__.copy  # completion shows these, and no modules
