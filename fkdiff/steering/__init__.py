"""Steering by rewards that need not be differentiable: discrete-time Feynman–Kac models over any stochastic solver.

- `potentials`: how the reward is paid out along the path, so that the payments always add up to λ r(x_K)
- `rewards`: `class_log_odds`, `ink_budget`: what a config may name
- `steer`: `steer(pred, solver, reward)`: a `FeynmanKac` model for `run_smc`
"""

from fkdiff.steering.potentials import POTENTIALS as POTENTIALS
from fkdiff.steering.rewards import class_log_odds as class_log_odds
from fkdiff.steering.rewards import ink_budget as ink_budget
from fkdiff.steering.steer import steer as steer
