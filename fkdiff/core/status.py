"""Status codes: numerical events that compiled code cannot raise.

A code is an int32 scalar in the carried state. The first code that is not `OK` is kept, with the step at
which it appeared; `fkdiff.check` turns it into a sentence on the host. A code that only casts doubt gives way to one
of a failure.
"""

from __future__ import annotations

import enum

import jax.numpy as jnp

from fkdiff.core.types import Array


class Status(enum.IntEnum):
    """What went wrong, or `OK`."""

    OK = 0
    EXTINCT = 1
    NAN = 2
    INFINITE = 3
    NOT_NORMALISABLE = 4
    BAD_GRID = 5
    STALLED = 7
    UNFINISHED = 8  # 6 belonged to a status that is gone: results on disk keep their codes


SENTENCES = {
    Status.EXTINCT: "every particle has weight zero: the potentials leave nothing alive. Use a ramp, a softer "
    "reward or more particles",
    Status.NAN: "a log-weight or a particle became NaN. Check the model and the reward at that time, or use more steps",
    Status.INFINITE: "a log-weight became +inf. Check the reward for a division by zero or a log of zero",
    Status.NOT_NORMALISABLE: "the exponents do not define a normalisable target: their sum, and the precision "
    "Σ β_i/(α² ς_i² + σ²), must be positive at every time. Lower the negative exponents",
    Status.BAD_GRID: "the time grid is not strictly increasing or leaves [t_min, t_max] of the path. Build it "
    "with fkdiff.grid",
    Status.STALLED: "the steps were spent before the temperature reached 1, so that this is the law of a lower one. "
    "Use more steps, a smaller ess, or moves that mix better",
    Status.UNFINISHED: "a resampling by optimal transport stopped before its plan kept the weights, so that means were "
    "moved. Use more max_steps, or a larger epsilon",
}


def failed(code: Array | int) -> Array | bool:
    """Whether a code forbids the result: neither `OK` nor `UNFINISHED`, which is a doubt."""
    return (code != Status.OK) & (code != Status.UNFINISHED)


def worst(*codes: Array | int) -> Array:
    """The first code that is not `OK`, as an int32 scalar; `OK` if there is none."""
    kept = jnp.int32(Status.OK)
    for code in codes:
        kept = jnp.where(kept == Status.OK, jnp.asarray(code, jnp.int32), kept)
    return kept
