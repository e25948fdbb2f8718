"""What a model says at (x, t), whatever it was trained to output.

- `parameterization`: `Parameterization`: six kinds of output, one 2 × 2 solve, and energies
- `predictor`: `Prediction`, `Predictor`: pred(x, t) for ONE example, with its path, shape and condition
- `bridge`: `Bridge`: what a network says on a two-sided interpolant
- `guidance`: `guide`: classifier-free guidance, plain and limited to an interval; Predictor → Predictor
"""

from fkdiff.core import scalar_reward
from fkdiff.prediction.bridge import Bridge
from fkdiff.prediction.guidance import guide
from fkdiff.prediction.parameterization import KINDS, Parameterization
from fkdiff.prediction.predictor import Prediction, Predictor

__all__ = ["Bridge", "guide", "KINDS", "Parameterization", "Prediction", "Predictor", "scalar_reward"]
__dir__ = __all__.copy  # completion shows these, and no modules
