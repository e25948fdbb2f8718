"""SMC samplers from a prior to prior · likelihood.

- `tempering`: by temperatures; `temperatures` chooses the next one, `tuning` (`tuned`) and `moves` how to move
- `unadjusted`: annealed importance sampling by Langevin steps, differentiable throughout
- `two_sided`: evidence from both ends: `backwards`, `two_sided`, `bennett`
"""

from fkdiff.smc.samplers._tempering import Tempered, TemperingReport, tempering
from fkdiff.smc.samplers._two_sided import TwoSided, backwards, bennett, two_sided
from fkdiff.smc.samplers._unadjusted import unadjusted
from fkdiff.smc.samplers.tuning import Tuned, tuned

__all__ = [
    "backwards", "bennett", "Tempered", "tempering", "TemperingReport", "Tuned", "tuned", "two_sided", "TwoSided",
    "unadjusted",
]  # fmt: skip
__dir__ = __all__.copy  # completion shows these, and no modules
