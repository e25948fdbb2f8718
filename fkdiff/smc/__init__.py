"""Sequential Monte Carlo: one exact engine for every Feynman–Kac model.

- `model`: `Model`, what the engine runs; `wrapped`: `Wrapped`, a model around another; `one_particle`: `OneParticle`
  and `FeynmanKac`, from functions of one particle; `population`: `Population`, from functions of all
- `engine`: `init`, `step`, `finish`; `state` and `weights`: the bookkeeping; `arguments`: what is refused
- `combinators`: `rewarded`, `rejuvenated`, `unweighted`: take a model, return a model
- `drivers`: `run_smc`, `drive`, `replicate`, `run_each`, `conditional`, and `freeze`
- `resamplers`: the schemes and what decorates them
- `samplers`: `tempering`, `unadjusted`, `two_sided`
- `results`: results, evidence, expectations
"""

from fkdiff.lazy import renamed
from fkdiff.smc import combinators, drivers, resamplers, results, samplers
from fkdiff.smc.combinators import *
from fkdiff.smc.drivers import *
from fkdiff.smc.engine import SMCState, StepInfo, finish, init, step
from fkdiff.smc.model import Model, MoveInfo, Pilot
from fkdiff.smc.one_particle import FeynmanKac, OneParticle
from fkdiff.smc.population import Population
from fkdiff.smc.resamplers import *
from fkdiff.smc.results import *
from fkdiff.smc.samplers import *
from fkdiff.smc.weights import ess, normalized
from fkdiff.smc.wrapped import Wrapped

__all__ = [
    "ess", "FeynmanKac", "finish", "init", "Model", "MoveInfo", "normalized", "OneParticle", "Pilot", "Population",
    "SMCState", "step", "StepInfo", "Wrapped",
]  # fmt: skip
__all__ += combinators.__all__
__all__ += drivers.__all__
__all__ += resamplers.__all__
__all__ += results.__all__
__all__ += samplers.__all__
__dir__ = __all__.copy  # completion shows these, and no modules
__getattr__ = renamed(__name__, {"PopulationModel": "fkdiff.smc:Model"})
