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

from fkdiff.discrete.correctors import ORDERS as ORDERS
from fkdiff.discrete.correctors import DiscreteChain as DiscreteChain
from fkdiff.discrete.correctors import DiscreteTarget as DiscreteTarget
from fkdiff.discrete.correctors import Revealing as Revealing
from fkdiff.discrete.correctors import Unmask as Unmask
from fkdiff.discrete.correctors import ancestral_steps as ancestral_steps
from fkdiff.discrete.correctors import anneal as anneal
from fkdiff.discrete.correctors import checked_order as checked_order
from fkdiff.discrete.correctors import guidance as guidance
from fkdiff.discrete.correctors import lifted as lifted
from fkdiff.discrete.correctors import product as product
from fkdiff.discrete.correctors import unmask as unmask
from fkdiff.discrete.enumerated import Enumerated as Enumerated
from fkdiff.discrete.enumerated import enumerated as enumerated
from fkdiff.discrete.enumerated import ising as ising
from fkdiff.discrete.infilling import infill as infill
from fkdiff.discrete.predictor import DiscretePredictor as DiscretePredictor
from fkdiff.discrete.predictor import denoiser as denoiser
from fkdiff.discrete.processes import Masked as Masked
from fkdiff.discrete.processes import Process as Process
from fkdiff.discrete.processes import Uniform as Uniform
from fkdiff.discrete.processes import masked as masked
from fkdiff.discrete.processes import uniform as uniform
from fkdiff.discrete.sampling import Factorised as Factorised
from fkdiff.discrete.sampling import sample as sample
from fkdiff.discrete.sampling import transition as transition
