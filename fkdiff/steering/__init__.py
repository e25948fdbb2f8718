"""Steering by rewards, which need no gradient: any stochastic solver's chain, any model, any reward.

- `chain`: `chain(pred, solver)`: the steps of a solver as a model
- `guidance`, `twisted`: how steps are shifted towards high values, with exact ratios
- `tokens`: the same for sequences of tokens
- `rewards`: `combined`; `class_log_odds`, `ink_budget`: what a config may name
- `best_of`: `best_of_n`: the baseline that follows no law
- `steer`: `steer(pred, solver, reward)`: a rewarded chain, and `steer(model, reward=reward)`: any model

Value estimates, ramps, potentials and host rewards are those of `fkdiff.smc.rewarded`.
"""

from fkdiff.lazy import renamed
from fkdiff.smc.host import host as host
from fkdiff.smc.potentials import POTENTIALS as POTENTIALS
from fkdiff.smc.potentials import adaptive_ramp as adaptive_ramp
from fkdiff.smc.values import clean_draws as clean_draws
from fkdiff.smc.values import clean_estimate as clean_estimate
from fkdiff.smc.values import learned as learned
from fkdiff.steering.best_of import best_of_n as best_of_n
from fkdiff.steering.chain import Chain as Chain
from fkdiff.steering.chain import chain as chain
from fkdiff.steering.guidance import Guidance as Guidance
from fkdiff.steering.rewards import class_log_odds as class_log_odds
from fkdiff.steering.rewards import combined as combined
from fkdiff.steering.rewards import ink_budget as ink_budget
from fkdiff.steering.steer import steer as steer

__getattr__ = renamed(
    __name__,
    {
        "uncorrected": "fkdiff.smc:unweighted",
        **{
            name: f"fkdiff.inverse_problems:{name}"
            for name in ("GUIDANCE", "LinearOperator", "blur", "downsample", "inverse", "mask", "matrix")
        },
    },
)
