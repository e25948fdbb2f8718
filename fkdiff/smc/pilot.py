"""A schedule from a pilot run: temperatures, step sizes, masses and numbers of moves, frozen.

What was chosen from one population is fixed for the next, so that no particle moves another and Ẑ is unbiased again.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from fkdiff.core import Array, Key, check, expect, require, traced
from fkdiff.smc.moves import Frozen, Moves
from fkdiff.smc.run import run_smc
from fkdiff.smc.tempering import Tempered
from fkdiff.smc.tuning import Tuned


def freeze(key: Key, model: Tempered, grid: Array, num_particles: int = 1024) -> tuple[Tempered, Array]:
    """(model, temperatures): what an adaptive model chose in one pilot run, fixed.

        frozen, temperatures = fkdiff.smc.freeze(pilot_key, model, grid)
        out = fkdiff.run_smc(key, frozen, temperatures, num_particles)      # E Ẑ = Z

    Use another key for the run than for the pilot.

    Args:
        key: The pilot's key.
        model: From `tempering`, with `ess` or with a tuned move.
        grid: The pilot's times; for an adaptive schedule its length is the most steps it may take.
        num_particles: Of the pilot; those of the run need not be as many.

    Returns:
        The frozen model, and the temperatures as its grid.

    Raises:
        FkdiffError: Nothing of the model adapts, the pilot failed, or this stands inside jit.

    Cost: one run.
    """
    expect("model", model, Tempered, "pass what fkdiff.smc.tempering returns")
    require(not model.fixed, "nothing of this model adapts to its population; run it as it stands.")
    out = run_smc(key, model, grid, num_particles)
    require(not traced(out.log_normalizer), "freeze reads the pilot on the host; call it outside jit.")
    report = check(out).info.report
    reached = np.asarray(report.temperature)
    count = int(np.argmax(reached >= 1)) + 1 if reached.max() >= 1 else reached.size
    temperatures = jnp.concatenate([jnp.zeros(1, report.temperature.dtype), report.temperature[:count]])
    move = model.moves.move
    if isinstance(move, Tuned):
        move = Frozen(
            move.make, temperatures[:-1], report.step_size[:count], report.inverse_mass[:count], report.moves[:count]
        )
    moves = Moves(move, model.moves.num_moves, model.moves.waste_free)
    return Tempered(model.density, model.draw, moves, None, model.backwards, model.chunk), temperatures
