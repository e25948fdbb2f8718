"""What a run returns, and how far to trust it.

- `result`: `SMCResult` and `SMCInfo`; `health` says what is wrong with one, `saving` stores it
- `evidence`: the standard error of log Ẑ from one run; `estimate`: a value, its standard error and the interval
- `expectation`: with an error bar that knows the genealogy; `resample` for equal weights
"""

from fkdiff.smc.results._expectation import expectation, resample
from fkdiff.smc.results.estimate import Estimate
from fkdiff.smc.results.evidence import lineage_inflation, log_normalizer_error
from fkdiff.smc.results.result import SMCInfo, SMCResult

__all__ = ["Estimate", "expectation", "lineage_inflation", "log_normalizer_error", "resample", "SMCInfo", "SMCResult"]
__dir__ = __all__.copy  # completion shows these, and no modules
