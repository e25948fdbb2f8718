"""What a reward of −∞ on the way should count as: the relative deviation of Ẑ by the depth of the floor.

    python -m benchmarks.floors

The ancestral chain of a standard normal model, 16 steps; r = −∞ below 2 and 0 above, so that one path in 44 ends well.
"""

from __future__ import annotations

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import fkdiff as fk
from benchmarks.common import arguments, save
from fkdiff import smc

PATH = fk.paths.variance_preserving()
STEPS, PARTICLES = 16, 256


def wall(x):
    """−∞ below 2."""
    return jnp.where(x[0] < 2.0, -jnp.inf, 0.0)


def normalizers(model, runs: int) -> np.ndarray:
    """Ẑ of independent populations, resampled by the usual rule."""
    grid, rule = fk.grid(STEPS, PATH), smc.adaptive(smc.systematic, 0.5)

    @eqx.filter_jit
    def one(keys):
        return jax.lax.map(
            lambda key: fk.run_smc(key, model, grid, PARTICLES, resample=rule).log_normalizer, keys, batch_size=50
        )

    return np.exp(np.asarray(one(jax.random.split(jax.random.key(0), runs)), np.float64))


def main() -> None:
    args = arguments("Floors of rewards that forbid.")
    args.started, runs, rows = time.time(), 200 if args.quick else 4000, []
    base = fk.steering.chain(fk.targets.gaussian([0.0], 1.0).predictor(PATH), fk.solvers.ddim(eta=1.0))
    ways = {f"{depth:g} nats": {"depth": depth} for depth in (1.0, 3.0, 10.0, 30.0)}
    for name, options in {**ways, "terminal": {"potential": "terminal"}}.items():
        found = normalizers(smc.rewarded(base, wall, **options), runs)
        mean, deviation = found.mean(), found.std(ddof=1)
        rows.append(
            {"floor": name, "mean": mean, "error": deviation / runs**0.5, "relative_deviation": deviation / mean}
        )
        print(f"{name:10s} mean Ẑ {mean:.5f} ± {deviation / runs**0.5:.5f}, relative deviation {deviation / mean:.3f}")
    save(args, "floors", rows, particles=PARTICLES, steps=STEPS, runs=runs)


if __name__ == "__main__":
    main()
