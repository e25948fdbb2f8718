"""What everything else stands on: types, keys, trees, status codes, errors.

- `types`: `Kernel`, `Transition` and the array aliases used in signatures
- `keys`: one key per step, use and particle, so results never depend on chunking or device count
- `trees`: gather, mix, select and map over the particle axis of a pytree
- `status`: failure codes that ride through compiled code, and their sentences
- `arguments`: what an argument must be: keys, counts, numbers
- `concrete`: what is known now and what is being traced
- `density`: `LogDensity`: weighted terms whose values and gradients are evaluated once
- `refusal`: derivatives that would be wrong raise a sentence
- `rewards`: `scalar_reward`: what a reward must return
- `scans`: scans that are recomputed in segments, so that their derivatives fit in memory
- `memory`: exhaustion as a sentence
- `errors` (one level up, free of JAX): sentences with the argument, what came and the next action
- `progress`: a bar on a terminal, lines elsewhere
- `checking`: `check`, the host boundary where a status becomes an exception or a warning
"""

from fkdiff.core.arguments import chunk_size as chunk_size
from fkdiff.core.arguments import expect as expect
from fkdiff.core.arguments import number as number
from fkdiff.core.arguments import one_key as one_key
from fkdiff.core.arguments import times_of as times_of
from fkdiff.core.arguments import whole as whole
from fkdiff.core.checking import check as check
from fkdiff.core.concrete import concrete as concrete
from fkdiff.core.concrete import traced as traced
from fkdiff.core.density import Evaluation as Evaluation
from fkdiff.core.density import LogDensity as LogDensity
from fkdiff.core.density import log_density as log_density
from fkdiff.core.keys import particle_keys as particle_keys
from fkdiff.core.keys import stream as stream
from fkdiff.core.memory import enough_memory as enough_memory
from fkdiff.core.refusal import refused as refused
from fkdiff.core.rewards import scalar_reward as scalar_reward
from fkdiff.core.scans import checkpoint_segments as checkpoint_segments
from fkdiff.core.scans import scan as scan
from fkdiff.core.status import Status as Status
from fkdiff.core.status import worst as worst
from fkdiff.core.trees import chunked_vmap as chunked_vmap
from fkdiff.core.trees import mix as mix
from fkdiff.core.trees import select as select
from fkdiff.core.trees import take as take
from fkdiff.core.types import Array as Array
from fkdiff.core.types import Kernel as Kernel
from fkdiff.core.types import Key as Key
from fkdiff.core.types import PyTree as PyTree
from fkdiff.core.types import Scalar as Scalar
from fkdiff.core.types import Transition as Transition
from fkdiff.core.types import acceptance_of as acceptance_of
from fkdiff.errors import FkdiffError as FkdiffError
from fkdiff.errors import FkdiffWarning as FkdiffWarning
from fkdiff.errors import choose as choose
from fkdiff.errors import require as require
