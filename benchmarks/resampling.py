"""Milliseconds per resampling, for every scheme, from 10⁴ to 10⁶ particles; the goal is 25 ms for systematic at 10⁶.

Each row stores quality beside time: the largest |count − N w|, which systematic keeps to 1 but for the rounding of a
float32 sum. The minimum over many calls is least disturbed by whatever else the machine does.
"""

from __future__ import annotations

import time

import jax
import numpy as np
from matplotlib.figure import Figure

from benchmarks.common import arguments, save
from fkdiff import smc

SCHEMES = (smc.systematic, smc.stratified, smc.residual, smc.multinomial)


def measure(scheme, num_particles: int, repeats: int) -> dict:
    """Compile time, best and median steady time, and the worst error of a count."""
    log_weights = jax.random.normal(jax.random.key(0), (num_particles,))
    compiled, start = jax.jit(scheme), time.perf_counter()
    ancestors = jax.block_until_ready(compiled(jax.random.key(1), log_weights))[0]
    compile_ms, times = 1e3 * (time.perf_counter() - start), []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(compiled(jax.random.key(1), log_weights))
        times.append(1e3 * (time.perf_counter() - start))
    weights = np.exp(np.asarray(log_weights, np.float64))
    counts = np.bincount(ancestors, minlength=num_particles)
    return {
        "scheme": scheme.__name__,
        "num_particles": num_particles,
        "compile ms": compile_ms,
        "best ms": min(times),
        "median ms": float(np.median(times)),
        "worst count error": float(np.abs(counts - num_particles * weights / weights.sum()).max()),
    }


def main() -> None:
    args = arguments(__doc__)
    args.started = time.time()
    sizes, repeats = ((10**4, 10**5), 5) if args.quick else ((10**4, 10**5, 10**6), 40)
    rows = []
    print(f"{'scheme':<12} {'particles':>9} {'best ms':>9} {'median ms':>9} {'worst |count − N w|':>20}")
    for num_particles in sizes:
        for scheme in SCHEMES:
            row = measure(scheme, num_particles, repeats)
            rows.append(row)
            figures = f"{row['best ms']:>9.2f} {row['median ms']:>9.2f} {row['worst count error']:>20.2f}"
            print(f"{scheme.__name__:<12} {num_particles:>9} {figures}")
    save(args, "resampling", rows, draw(rows))


def draw(rows: list[dict]) -> Figure:
    """Time against the number of particles."""
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(row["scheme"] for row in rows):
        chosen = [row for row in rows if row["scheme"] == name]
        axes.loglog([r["num_particles"] for r in chosen], [r["best ms"] for r in chosen], "o-", ms=4, label=name)
    axes.set_xlabel("particles")
    axes.set_ylabel("ms for one resampling")
    axes.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    main()
