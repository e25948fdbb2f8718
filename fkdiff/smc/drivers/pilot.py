"""Whatever a model chooses from its population, taken from a pilot run and fixed.

What was chosen from one population is fixed for the next, so that no particle moves another and Ẑ is unbiased.
"""

from __future__ import annotations

from typing import TypeVar

import equinox as eqx
import jax

from fkdiff.core import Array, FkdiffError, Key, Status, concrete, failed, require
from fkdiff.core.keys import Use, stream
from fkdiff.core.status import SENTENCES
from fkdiff.smc import arguments
from fkdiff.smc.drivers.run import observed
from fkdiff.smc.model import Model, Pilot
from fkdiff.smc.results.result import SMCInfo

M = TypeVar("M", bound=Model)


def freeze(key: Key, model: M, grid: Array, num_particles: int = 1024) -> M:
    """The model as composed (with its rewards), its choices fixed as functions of time by one pilot run.

        frozen = fkdiff.smc.freeze(pilot_key, model, grid)
        out = fkdiff.run_smc(key, frozen, grid)               # E Ẑ = Z up to time steps, for every N

    Fixed are the control of a corrector, an adaptive ramp, and the temperatures, step sizes, masses and numbers of
    moves of a tempering sampler. A control that is fitted to the population that it moves biases log Z by O(1/N) and
    couples the particles, which no error bar of a single run can see; one that is fixed in advance does neither, so
    that `log_normalizer_error` and `expectation` are right. Moves after an adaptive resampling still leave a bias of
    O(1/N), since they come only to populations whose ESS was low: a corrector with noise makes none, and without noise
    `refresh=0` leaves them out.

    Args:
        key: The pilot's; use another one for the run itself.
        model: Any model that adapts.
        grid: The pilot's times. What is frozen is linear between them and serves any grid that they span; temperatures
            are best run on the pilot's own grid.
        num_particles: N of the pilot; a few hundred per control column are plenty.

    Returns:
        A model of the same kind.

    Raises:
        FkdiffError: Nothing of the model adapts, it asks the host, or the pilot failed.

    Cost: the pilot's run, and for a corrector one stage more per step.
    """
    run = arguments.checked(key, model, grid, num_particles)
    pilot, info = _pilot(stream(run.key, Use.PROBE), *run[1:5])
    known = concrete(info.status)
    if known is not None and failed(int(known)):
        raise FkdiffError(f"the pilot run failed: {SENTENCES[Status(int(known))]}.")
    frozen = model.frozen(pilot)
    require(frozen is not model, "nothing of this model adapts to its population; run it as it stands.")
    return frozen  # type: ignore[return-value]


def pilot_run(key: Key, model: Model, grid: Array, num_particles: int, resample) -> tuple[Pilot, SMCInfo]:
    """A run, and what `Model.frozen` takes of it; without checks, for drivers that compile around it."""
    key_run, key_probe = jax.random.split(key)

    def look(particles, log_weights, t):
        return model.record(key_probe, particles, log_weights, t)

    out = observed(key_run, model, grid, num_particles, resample, look, "error")
    return Pilot(grid, out.info.report, out.collected), out.info


_pilot = eqx.filter_jit(pilot_run)
