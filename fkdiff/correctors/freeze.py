"""Control fixed by a pilot run: an unbiased log Z, and particles that only resampling couples."""

from __future__ import annotations

import equinox as eqx
import jax

from fkdiff.core import Array, FkdiffError, Key, Status, concrete, one_key, require
from fkdiff.core.keys import Use, stream
from fkdiff.core.status import SENTENCES
from fkdiff.correctors.control import Schedule, solve
from fkdiff.correctors.population import Corrector
from fkdiff.smc import run_smc


class _Fitted(eqx.Module):
    """θ and the centre at one time, for `collect`."""

    model: Corrector
    key: Key

    def __call__(self, x: Array, log_weights: Array, t: Array) -> tuple[Array, Array]:
        field = self.model.fields(self.key, x, log_weights, t)
        return solve(field.rate, field.columns, log_weights).theta, self.model.centre(x, log_weights)


def freeze(key: Key, model: Corrector, grid: Array, num_particles: int = 1024) -> Corrector:
    """The same model with its control taken from a pilot population, as a function of time.

    A control fitted to the population that it moves biases log Z by O(1/N) and couples the particles, which no error
    bar of a single run can see. Any control that is fixed in advance leaves the law alone: E[Ẑ] = Z up to the time
    steps, for every N, and the error bars of `log_normalizer_error` and `expectation` are right. Moves after an
    adaptive resampling still leave a bias of O(1/N), since they come only to populations whose ESS was low: with noise
    there are none; without, `refresh=0` leaves them out.

    Args:
        key: Of the pilot; use another one for the run itself.
        model: From `target.feynman_kac(...)`, with control.
        grid: The pilot's times; the frozen control is linear between them and serves any grid that they span.
        num_particles: N of the pilot; a few hundred per control column are plenty.

    Raises:
        FkdiffError: The model has no control, or the pilot failed.

    Cost: the pilot's run, and one stage more per step.
    """
    key = one_key(key)
    require(
        isinstance(model, Corrector) and model.control != "none",
        "model has no fitted control to freeze; pass target.feynman_kac(control=True).",
    )
    free = eqx.tree_at(lambda m: m.schedule, model, None, is_leaf=lambda leaf: leaf is None)
    key_run, key_probe = jax.random.split(stream(key, Use.PROBE))
    pilot = run_smc(key_run, free, grid, num_particles, collect=_Fitted(free, key_probe))
    status = concrete(pilot.info.status)
    if status is not None and int(status) != Status.OK:
        raise FkdiffError(f"the pilot run failed: {SENTENCES[Status(int(status))]}.")
    theta, centre = pilot.collected
    return eqx.tree_at(
        lambda m: m.schedule, free, Schedule(pilot.info.times, theta, centre), is_leaf=lambda leaf: leaf is None
    )
