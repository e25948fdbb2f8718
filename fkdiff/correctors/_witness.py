"""Witnesses: points that somebody else found, asked what they would weigh.

A mode in which no particle starts leaves no trace in a run. But the weighted flow is a map: from any point it runs back
to where a particle would have had to start, and gathers the log-weight ℓ that this particle would have had, with
E[e^ℓ] = Z over the start. A point with e^ℓ ≫ Z stands for mass that the population could only have met by luck.
"""

from __future__ import annotations

import equinox as eqx
import jax
import numpy as np

from fkdiff.core import Array, Key, expect, number, one_key, require
from fkdiff.core.keys import Use, stream
from fkdiff.correctors.partition import pulled_back
from fkdiff.correctors.population import Corrector
from fkdiff.smc import SMCResult, freeze

MISSED = 0.05  # a share of the target worth a doubt
LUCK = 3.0  # particles expected in a region below which it may well hold none
CAP = 2.0  # nats above the limit that count: where tails meet, one point may weigh anything


class Witnesses(eqx.Module):
    """What points would weigh.

    Attributes:
        points: At the last grid time, (M, *shape).
        starts: Where the flow comes from to reach them, (M, *shape).
        log_excess: ℓ − log Ẑ, nats above the weight of a typical particle, (M,).
        num_particles: N of the run that they are held against.
    """

    points: Array
    starts: Array
    log_excess: Array
    num_particles: int = eqx.field(static=True)

    @property
    def limit(self) -> float:
        """The excess from which a region of a twentieth of the target may hold no particle of N: log(N/60)."""
        return float(np.log(max(self.num_particles * MISSED / LUCK, 1.0)))

    def problems(self) -> tuple[list[str], list[str]]:
        """A doubt if most of the witnesses' weight lies where the run may hold no particle; see `fkdiff.check`."""
        excess = np.asarray(self.log_excess, np.float64)
        heavy = ~(excess <= self.limit)  # NaN, where the flow diverged, counts
        weights = np.exp(np.where(heavy, np.fmin(excess, self.limit + CAP), excess))
        if not (heavy.sum() > 2 and weights[heavy].sum() > 0.5 * weights.sum()):
            return [], []
        return [], [
            f"{heavy.sum()} of {len(excess)} witnesses would weigh {self.limit:.2g} nats or more above a typical "
            "particle, and outweigh all others together: a mode may have been missed that no diagnostic of the run can "
            "show; use more particles or independent populations; see SYMPTOMS.md#unseen-modes"
        ]


def witness(key: Key, model: Corrector, out: SMCResult, points: Array) -> Witnesses:
    """Runs the weighted flow backwards from `points` and says what they would weigh beside a run's particles.

    Good witnesses are draws of the unsteered models, or their training data: whatever may lie in a mode that the target
    has and the population lacks. Call `fkdiff.check` on the answer.

    Args:
        key: For probes, and for the pilot where the control is not frozen yet.
        model: From `target.feynman_kac(...)` with noise 0.
        out: A run of it: its grid, log Ẑ and number of particles are what the points are held against.
        points: Positions at the last grid time, (M, *shape).

    Returns:
        `Witnesses`. No alarm is no proof: a mode without a witness stays unseen. One-probe divergences add noise to ℓ.

    Raises:
        FkdiffError: The model has noise, or the points do not have its shape.

    Cost: one run of M particles, and a pilot run where the control is not frozen.
    """
    key = one_key(key)
    expect("model", model, Corrector, "pass target.feynman_kac(noise=0.0), as given to run_smc")
    points = number("points", points, shape=None)
    shape = model.target.shape
    require(
        points.ndim == len(shape) + 1 and points.shape[1:] == shape and len(points) > 0,
        f"points has shape {points.shape}; pass (M, *{shape}), one witness per row and at least one.",
    )
    require(
        model.deterministic,
        "model has noise, and only a flow can be run backwards; pass target.feynman_kac(noise=0.0).",
    )
    expect("out", out, SMCResult, "pass a run of the model")
    key_pilot, key_probe = jax.random.split(key)
    if model.control != "none" and model.schedule is None:
        model = freeze(key_pilot, model, out.info.times)
    starts, log_weights = _backwards(stream(key_probe, Use.PROBE), model, out.info.times, points)
    return Witnesses(points, starts, log_weights - out.log_normalizer, out.log_weights.shape[0])


_backwards = eqx.filter_jit(pulled_back)
