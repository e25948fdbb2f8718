"""Derivatives of what samplers compute, right or refused.

- `identities`: `log_normalizer` (Fisher) and `expectation` (covariance): from draws, whatever drew them
- `paths`: `along_paths`: Fisher's identity for models in time, whose particles carry their score
- `averages`: E f with its error, over a run, independent runs or chains

What may be differentiated as it stands:

    solvers, unadjusted kernels            pathwise; `checkpoint=` of the drivers bounds the memory
    smc with `never`                       pathwise: `fkdiff.smc.unadjusted` is built for it
    smc with `stop_gradient(resample)`     right for E Ẑ, of high variance
    smc with `soft`, `optimal_transport`   biased, of lower variance
    smc with `detached(resample)`          biased, for learning proposals
    these identities themselves            right in their parameters, of any order
    every choice (an ancestor, a token, accepted or not, `smc.resample`, `smc.conditional`)
                                           refused when traced, naming what to use
"""

from fkdiff.gradients.identities import expectation, log_normalizer
from fkdiff.gradients.paths import Line, along_paths

__all__ = ["along_paths", "expectation", "Line", "log_normalizer"]
__dir__ = __all__.copy  # completion shows these, and no modules
