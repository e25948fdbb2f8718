"""Solvers: how one example walks from noise to data, and the driver that walks many.

- `base`: `Solver`, `State`, `arrive`: one Gaussian transition per step, the prediction rides in the state
- `euler`, `heun`, `ddim`, `dpmpp`, `exponential`: one solver a file
- `reference`: (m, ς²), the Gaussian that stands for the data at the noise end
- `integrate`: `integrate`: samples from a model
- `likelihood`: `log_prob`: the log-density of its samples
"""

from fkdiff.solvers.base import Solver as Solver
from fkdiff.solvers.base import State as State
from fkdiff.solvers.base import arrive as arrive
from fkdiff.solvers.ddim import ddim as ddim
from fkdiff.solvers.dpmpp import dpmpp_2m as dpmpp_2m
from fkdiff.solvers.euler import euler as euler
from fkdiff.solvers.exponential import exponential as exponential
from fkdiff.solvers.heun import heun as heun
from fkdiff.solvers.integrate import integrate as integrate
from fkdiff.solvers.likelihood import log_prob as log_prob
