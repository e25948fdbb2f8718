"""Steering by rewards that need not be differentiable: discrete-time Feynman–Kac models over any stochastic solver.

- `potentials`: how the reward is paid out along the path, so that the payments always add up to λ r(x_K)
- `guesses`: `clean_estimate`, `clean_draws`, `learned`: what the end will pay, guessed on the way
- `proposals`: steps shifted towards what pays, with exact ratios
- `particle`: one steered particle
- `tempered`: `adaptive_ramp`: a ramp as fast as the ESS allows, by bisection
- `host`: `host`: rewards in plain Python, for `fkdiff.drive`
- `tokens`: the same for sequences of tokens
- `rewards`: `combined`; `class_log_odds`, `ink_budget`: what a config may name
- `best_of`: `best_of_n`: the baseline that follows no law
- `steer`: `steer(pred, solver, reward)`: a `FeynmanKac` model for `run_smc`
"""

from fkdiff.steering.best_of import best_of_n as best_of_n
from fkdiff.steering.guesses import clean_draws as clean_draws
from fkdiff.steering.guesses import clean_estimate as clean_estimate
from fkdiff.steering.guesses import learned as learned
from fkdiff.steering.host import host as host
from fkdiff.steering.potentials import POTENTIALS as POTENTIALS
from fkdiff.steering.rewards import class_log_odds as class_log_odds
from fkdiff.steering.rewards import combined as combined
from fkdiff.steering.rewards import ink_budget as ink_budget
from fkdiff.steering.steer import steer as steer
from fkdiff.steering.tempered import adaptive_ramp as adaptive_ramp
