"""Sequences of tokens: the same engine, weights and error bars on another space.

- `processes`: `masked` and `uniform` noise; t = 0 is noise, t = 1 is data
- `predictor`: `denoiser`: any function as a `DiscretePredictor`
- `infilling`: `infill`: a denoiser that is told some of the tokens (prompts)
- `sampling`: `sample`, `transition`: plain ancestral sampling
- `correctors`: `anneal`, `product`, `guidance` of denoisers: of masked ones exactly, by the chain rule
- `ancestral`: the same on any process, step by step in time; `powers` is the arithmetic of both
- `enumerated`: laws as tables, with exact denoisers; `ising`

`fkdiff.steer` takes a denoiser, or a target of these, and any reward.
"""

from fkdiff.discrete._enumerated import Enumerated, enumerated, ising
from fkdiff.discrete.correctors import (
    ORDERS,
    DiscreteChain,
    DiscreteTarget,
    Revealing,
    Unmask,
    ancestral_steps,
    anneal,
    checked_order,
    guidance,
    lifted,
    product,
    unmask,
)
from fkdiff.discrete.infilling import infill
from fkdiff.discrete.predictor import DiscretePredictor, denoiser
from fkdiff.discrete.processes import Masked, Process, Uniform, masked, uniform
from fkdiff.discrete.sampling import Factorised, sample, transition

__all__ = [
    "ancestral_steps", "anneal", "checked_order", "denoiser", "DiscreteChain", "DiscretePredictor",
    "DiscreteTarget", "Enumerated", "enumerated", "Factorised", "guidance", "infill", "ising", "lifted", "Masked",
    "masked", "ORDERS", "Process", "product", "Revealing", "sample", "transition", "Uniform", "uniform", "Unmask",
    "unmask",
]  # fmt: skip
__dir__ = __all__.copy  # completion shows these, and no modules
