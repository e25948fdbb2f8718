"""Models around models: each takes any `Model` and returns one.

- `rewarded`: a reward on any model; `potentials`, `values` and `host` are its ramps, value estimates and host rewards
- `rejuvenation`: `rejuvenated`: any kernel as a move after resampling
- `unweighted`: the moves alone, for comparison
"""

from fkdiff.smc.combinators._host import HostReward, host
from fkdiff.smc.combinators._rewarded import Rewarded, rewarded
from fkdiff.smc.combinators._unweighted import Unweighted, unweighted
from fkdiff.smc.combinators.potentials import AdaptiveRamp, adaptive_ramp
from fkdiff.smc.combinators.rejuvenation import Rejuvenated, rejuvenated
from fkdiff.smc.combinators.values import ValueEstimate, clean_draws, clean_estimate, learned

__all__ = [
    "adaptive_ramp", "AdaptiveRamp", "clean_draws", "clean_estimate", "host", "HostReward", "learned",
    "Rejuvenated", "rejuvenated", "Rewarded", "rewarded", "Unweighted", "unweighted", "ValueEstimate",
]  # fmt: skip
__dir__ = __all__.copy  # completion shows these, and no modules
