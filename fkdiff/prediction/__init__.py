"""What a model says at (x, t), whatever it was trained to output.

- `parameterization`: `Parameterization`: five kinds of output, one 2 × 2 solve
- `predictor`: `Prediction`, `Predictor`: pred(x, t) for ONE example, with its path, shape and condition
- `rewards`: `scalar_reward`: what a reward must return
- `guidance`: `guide`: classifier-free guidance, plain and limited to an interval; Predictor → Predictor
"""

from fkdiff.prediction.guidance import guide as guide
from fkdiff.prediction.parameterization import KINDS as KINDS
from fkdiff.prediction.parameterization import Parameterization as Parameterization
from fkdiff.prediction.predictor import Prediction as Prediction
from fkdiff.prediction.predictor import Predictor as Predictor
from fkdiff.prediction.rewards import scalar_reward as scalar_reward
