"""What everything else stands on: types, keys, trees, status codes, errors.

- `types`: `Kernel`, `Transition` and the array aliases used in signatures
- `distances`: `squared_distances` between rows
- `keys`: one key per step, use and particle, so results never depend on chunking or device count
- `trees`: gather, mix, select and map over the particle axis of a pytree
- `status`: failure codes that ride through compiled code, and their sentences
- `arguments`: what an argument must be: keys, counts, numbers
- `bisection`: `bisect` and `bisect_magnitude`: the threshold of a monotone function
- `choices`: every random choice goes through here: its derivative is refused
- `concrete`: what is known now and what is being traced
- `density`: `LogDensity`: weighted terms whose values and gradients are evaluated once
- `refusal`: derivatives that would be wrong raise a sentence
- `rewards`: `scalar_reward`: what a reward must return
- `scans`: scans that are recomputed in segments, so that their derivatives fit in memory
- `precision`: sums and decisions in at least float32, mixed dtypes in the widest
- `memory`: exhaustion as a sentence
- `errors` (one level up, free of JAX): sentences with the argument, what came and the next action
- `progress`: a bar on a terminal, lines elsewhere
- `checking`: `check`, the host boundary where a status becomes an exception or a warning
"""

from fkdiff.core._concrete import concrete, traced
from fkdiff.core.arguments import chunk_size, expect, given, number, one_key, times_of, whole
from fkdiff.core.bisection import bisect, bisect_magnitude
from fkdiff.core.checking import check
from fkdiff.core.choices import bernoulli, categorical, deciding, happens
from fkdiff.core.density import Evaluation, LogDensity, log_density
from fkdiff.core.distances import squared_distances
from fkdiff.core.keys import particle_keys, stream
from fkdiff.core.memory import enough_memory
from fkdiff.core.precision import common_dtype, raveled, wide_dtype, widened
from fkdiff.core.refusal import refused
from fkdiff.core.rewards import scalar_reward
from fkdiff.core.scans import checkpoint_segments, scan
from fkdiff.core.status import Status, failed, worst
from fkdiff.core.trees import chunked_vmap, mix, select, take
from fkdiff.core.types import Array, Kernel, Key, PyTree, Scalar, Transition, acceptance_of
from fkdiff.errors import FkdiffError, FkdiffWarning, choose, require

__all__ = [
    "acceptance_of", "Array", "bernoulli", "bisect", "bisect_magnitude", "categorical", "check",
    "checkpoint_segments", "choose", "chunk_size", "chunked_vmap", "common_dtype", "concrete", "deciding",
    "enough_memory", "Evaluation", "expect", "failed", "FkdiffError", "FkdiffWarning", "given", "happens", "Kernel",
    "Key", "log_density", "LogDensity", "mix", "number", "one_key", "particle_keys", "PyTree", "raveled", "refused",
    "require", "Scalar", "scalar_reward", "scan", "select", "squared_distances", "Status", "stream", "take",
    "times_of", "traced", "Transition", "whole", "wide_dtype", "widened", "worst",
]  # fmt: skip
__dir__ = __all__.copy  # completion shows these, and no modules
