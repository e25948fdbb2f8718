"""Milliseconds per resampling, for every scheme, from 10⁴ to 10⁶ particles, and what 10⁸ draws in float32 do wrong.

Each row stores quality beside time: the largest |count − N w|, which systematic keeps to 1 but for the rounding of a
float32 sum. Where blackjax is installed (`pip install fkdiff[benchmarks]`) its schemes stand beside ours, in CPU time
over interleaved pairs; and both draw 10⁸ ancestors from weights of which half are zero: picks of a particle without
weight, and collapses (one particle that gets more than half of all draws), are counted.
"""

from __future__ import annotations

import importlib.util
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from benchmarks.common import arguments, save, table
from benchmarks.rival import library, paired
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
        "scheme": scheme.family,
        "num_particles": num_particles,
        "compile ms": compile_ms,
        "best ms": min(times),
        "median ms": float(np.median(times)),
        "worst count error": float(np.abs(counts - num_particles * weights / weights.sum()).max()),
    }


def rivals() -> Any:
    """blackjax's resamplers, or None where it is not installed."""
    return library("blackjax.smc.resampling") if importlib.util.find_spec("blackjax") else None


def ratio_rows(theirs: Any, num_particles: int, pairs: int) -> list[dict]:
    """CPU milliseconds of both libraries, interleaved."""
    log_weights = jax.random.normal(jax.random.key(0), (num_particles,))
    weights, key, rows = jax.nn.softmax(log_weights), jax.random.key(1), []
    for scheme in SCHEMES:
        ours, other = jax.jit(scheme), jax.jit(getattr(theirs, scheme.family), static_argnums=2)
        seconds = paired(lambda f=ours: f(key, log_weights), lambda f=other: f(key, weights, num_particles), pairs)
        row = {"scheme": scheme.family, "num_particles": num_particles, "fkdiff cpu ms": 1e3 * seconds[0]}
        rows.append(row | {"blackjax cpu ms": 1e3 * seconds[1], "ratio": seconds[0] / seconds[1]})
    print(table(rows))
    return rows


def safety_rows(theirs: Any, draws: int, num_particles: int = 10**6) -> list[dict]:
    """What goes wrong in `draws` ancestors: the first, the last and every other particle have weight zero."""
    log_weights = jax.random.normal(jax.random.key(2), (num_particles,))
    dead = (jnp.arange(num_particles) % 2 == 0) | (jnp.arange(num_particles) >= num_particles - 1000)
    log_weights = jnp.where(dead, -jnp.inf, log_weights)
    weights, rounds = jax.nn.softmax(log_weights), -(-draws // num_particles)
    rows = []
    for scheme in SCHEMES:
        functions = {"fkdiff": (lambda key, w, f=scheme: f(key, w)[0], log_weights)}
        if theirs is not None:
            other = getattr(theirs, scheme.family)
            functions["blackjax"] = (lambda key, w, f=other: f(key, w, num_particles), weights)
        for name, (function, given) in functions.items():

            @jax.jit
            def run(keys, given, dead, function=function):
                def count(key):
                    chosen = function(key, given)
                    # By a sort and not a histogram of all: a collapse is a run of one value across the middle.
                    ordered = jnp.sort(chosen)
                    return dead[chosen].sum(), ordered[num_particles // 4] == ordered[3 * num_particles // 4]

                return jax.lax.map(count, keys)

            found = run(jax.random.split(jax.random.key(3), rounds), given, dead)
            row = {"scheme": scheme.family, "library": name, "draws": rounds * num_particles}
            rows.append(row | {"picks without weight": int(found[0].sum()), "collapses": int(found[1].sum())})
    print(table(rows))
    return rows


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
            print(f"{scheme.family:<12} {num_particles:>9} {figures}")
    theirs = rivals()
    ratios = [] if theirs is None else ratio_rows(theirs, sizes[-1], repeats)
    safety = safety_rows(theirs, 10**6 if args.quick else 10**8)
    save(args, "resampling", rows, draw(rows), against_blackjax=ratios, safety=safety)


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
