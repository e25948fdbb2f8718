"""Steering by rewards, which need no gradient, and by observations: Feynman–Kac models over any stochastic solver.

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

Posterior sampling, y = A x + noise ξ:

- `operators`: `matrix`, `mask`, `blur`, `downsample`: A, with its singular values
- `arrival`: what x_t says about the last position
- `frames`, `normals`: the Gaussian that stands for the data, in coordinates that suit A; Gaussians of y
- `problem`: the problem, and one guided particle
- `gradients`, `adapted`: how particles are guided: DPS, ΠGDM, TMPD; conditioning
- `inverse`: `inverse(pred, solver, operator, observation, noise)`: a `FeynmanKac` model for `run_smc`
- `uncorrected`: `uncorrected(model)`: the same guidance without weights, for comparison
"""

from fkdiff.steering.best_of import best_of_n as best_of_n
from fkdiff.steering.guesses import clean_draws as clean_draws
from fkdiff.steering.guesses import clean_estimate as clean_estimate
from fkdiff.steering.guesses import learned as learned
from fkdiff.steering.host import host as host
from fkdiff.steering.inverse import GUIDANCE as GUIDANCE
from fkdiff.steering.inverse import inverse as inverse
from fkdiff.steering.operators import LinearOperator as LinearOperator
from fkdiff.steering.operators import blur as blur
from fkdiff.steering.operators import downsample as downsample
from fkdiff.steering.operators import mask as mask
from fkdiff.steering.operators import matrix as matrix
from fkdiff.steering.potentials import POTENTIALS as POTENTIALS
from fkdiff.steering.rewards import class_log_odds as class_log_odds
from fkdiff.steering.rewards import combined as combined
from fkdiff.steering.rewards import ink_budget as ink_budget
from fkdiff.steering.steer import steer as steer
from fkdiff.steering.tempered import adaptive_ramp as adaptive_ramp
from fkdiff.steering.uncorrected import uncorrected as uncorrected
