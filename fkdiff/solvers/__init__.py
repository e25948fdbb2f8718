"""Solvers: how one example walks from noise to data, and the driver that walks many.

- `base`: `Solver`, `State`, `arrive`: one Gaussian transition per step, the prediction rides in the state
- `euler`, `heun`, `ddim`, `ancestral`, `dpmpp`, `exponential`: one solver a file
- `reference`: (m, ς²), the Gaussian that stands for the data at the noise end
- `integrate`: `integrate`: samples from a model
- `likelihood`: `log_prob`: the log-density of its samples
"""

from fkdiff.solvers._ancestral import ancestral
from fkdiff.solvers._ddim import ddim
from fkdiff.solvers._euler import euler
from fkdiff.solvers._exponential import exponential
from fkdiff.solvers._heun import heun
from fkdiff.solvers._integrate import integrate
from fkdiff.solvers.base import Solver, State, arrive
from fkdiff.solvers.dpmpp import dpmpp_2m
from fkdiff.solvers.likelihood import log_prob

__all__ = [
    "ancestral",
    "arrive",
    "ddim",
    "dpmpp_2m",
    "euler",
    "exponential",
    "heun",
    "integrate",
    "log_prob",
    "Solver",
    "State",
]
__dir__ = __all__.copy  # completion shows these, and no modules
