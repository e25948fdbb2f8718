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
from fkdiff.smc.combinators._host import host
from fkdiff.smc.combinators.potentials import POTENTIALS, adaptive_ramp
from fkdiff.smc.combinators.values import clean_draws, clean_estimate, learned
from fkdiff.steering._chain import Chain, chain
from fkdiff.steering._steer import steer
from fkdiff.steering.best_of import best_of_n
from fkdiff.steering.guidance import Guidance
from fkdiff.steering.rewards import class_log_odds, combined, ink_budget

__all__ = [
    "adaptive_ramp", "best_of_n", "Chain", "chain", "class_log_odds", "clean_draws", "clean_estimate", "combined",
    "Guidance", "host", "ink_budget", "learned", "POTENTIALS", "steer",
]  # fmt: skip
__dir__ = __all__.copy  # completion shows these, and no modules

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
