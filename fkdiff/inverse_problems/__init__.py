"""Posterior sampling: x from a model, given y = A x + noise ξ.

- `operators`: `matrix`, `mask`, `blur`, `downsample`: A, with its singular values
- `arrival`: what x_t says about the last position
- `bases`, `normals`: the Gaussian that stands for the data, in coordinates that suit A; Gaussians of y
- `problem`: likelihood and problem
- `towards`, `gradients`, `adapted`: how chains are guided: DPS, ΠGDM, TMPD; conditioning
- `posterior`: `inverse(pred, solver, operator, observation, noise)`: a rewarded, guided chain
"""

from fkdiff.inverse_problems.operators import LinearOperator, blur, downsample, mask, matrix
from fkdiff.inverse_problems.posterior import GUIDANCE, inverse
from fkdiff.inverse_problems.problem import Likelihood

__all__ = ["blur", "downsample", "GUIDANCE", "inverse", "Likelihood", "LinearOperator", "mask", "matrix"]
__dir__ = __all__.copy  # completion shows these, and no modules
