"""Other people's models and kernels, in their own conventions, flipped into ours once.

- `blackjax`: `from_blackjax`, `to_blackjax`: Markov kernels, either way
- `ddpm`: `ddpm`: noise (or v, clean, score) predictors on a table of ᾱ
- `edm`: `edm`: denoisers D(x, σ)
- `flow`: `flow`: velocities, with the data at τ = 1 or at τ = 0
- `outside`: how an outside function is called, and what is said when it does not fit
"""

from fkdiff.interop._ddpm import ddpm
from fkdiff.interop._edm import edm
from fkdiff.interop._flow import flow
from fkdiff.interop.blackjax import SamplingAlgorithm, from_blackjax, to_blackjax

__all__ = ["ddpm", "edm", "flow", "from_blackjax", "SamplingAlgorithm", "to_blackjax"]
__dir__ = __all__.copy  # completion shows these, and no modules
