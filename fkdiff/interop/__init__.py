"""Other people's models and kernels, in their own conventions, flipped into ours once.

- `blackjax`: `from_blackjax`, `to_blackjax`: Markov kernels, either way
- `ddpm`: `ddpm`: noise (or v, clean, score) predictors on a table of ᾱ
- `edm`: `edm`: denoisers D(x, σ)
- `flow`: `flow`: velocities, with the data at τ = 1 or at τ = 0
- `outside`: how an outside function is called, and what is said when it does not fit
"""

from fkdiff.interop.blackjax import SamplingAlgorithm as SamplingAlgorithm
from fkdiff.interop.blackjax import from_blackjax as from_blackjax
from fkdiff.interop.blackjax import to_blackjax as to_blackjax
from fkdiff.interop.ddpm import ddpm as ddpm
from fkdiff.interop.edm import edm as edm
from fkdiff.interop.flow import flow as flow
