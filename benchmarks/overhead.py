"""What the engine costs beside plain sampling: the same network, steps and particles; and memory against steps.

Ratio of minimal process CPU times over interleaved pairs: `run_smc` of an annealed model without control (weights,
resampling) against `integrate` with the same Euler–Maruyama step. Memory is the compiler's own account of temporaries.
"""

from __future__ import annotations

import statistics
import time

import equinox as eqx
import jax
from matplotlib.figure import Figure

import fkdiff as fk
from benchmarks.common import arguments, save
from fkdiff import nn

SIZE, WIDTH, DEPTH = 64, 256, 3


def network(path):
    """An MLP with at least 0.3 million parameters, as a model of 64-dimensional data."""
    from flax import nnx

    apply, params = nn.functional(nn.MLP(SIZE, WIDTH, DEPTH, 0, rngs=nnx.Rngs(0)))
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    return fk.Parameterization(path, kind="velocity").predictor(apply, params, (SIZE,)), count


def main() -> None:
    args = arguments(__doc__)
    args.started = time.time()
    steps, particles, pairs = (16, 128, 4) if args.quick else (64, 512, 20)
    path = fk.paths.cosine()
    pred, count = network(path)
    grid = fk.grid(steps, path)
    model = fk.correctors.anneal(pred, 1.5).feynman_kac("euler", 1.0, control=False)
    solver = fk.solvers.euler(noise=1.0)

    def engine(seed):
        return fk.run_smc(jax.random.key(seed), model, grid, particles).log_normalizer

    def plain(seed):
        return fk.integrate(jax.random.key(seed), pred, solver, grid, particles)

    def cpu(run, seed):
        start = time.process_time()
        jax.block_until_ready(run(seed))
        return time.process_time() - start

    for run in (engine, plain):
        run(0)
    found = []
    for s in range(1, pairs + 1):  # each pair in the other order than the one before
        times = {run: cpu(run, s) for run in ((engine, plain) if s % 2 else (plain, engine))}
        found.append((times[engine], times[plain]))
    middle = [statistics.median(column) for column in zip(*found, strict=True)]
    ratio = statistics.median(a / b for a, b in found)
    memory = {n: temporaries(model, path, n, particles) for n in (64, 512)}
    growth = memory[512] / memory[64]
    row = {
        "parameters": count,
        "engine cpu s": middle[0],
        "integrate cpu s": middle[1],
        "ratio": ratio,
        "temporaries at 64 steps": memory[64],
        "temporaries at 512 steps": memory[512],
        "memory ratio": growth,
    }
    print(row)
    save(args, "overhead", [row], draw(found, ratio, memory), pairs=pairs, steps=steps, num_particles=particles)


def draw(found: list[tuple[float, float]], ratio: float, memory: dict[int, int]) -> Figure:
    """CPU times of the pairs, and the compiler's account of memory."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[2, 1])
    for name, times in zip(("run_smc", "integrate"), zip(*found, strict=True), strict=True):
        left.plot(range(1, len(times) + 1), times, "o-", ms=3, lw=0.8, label=name)
    left.set_ylim(0, None)
    left.set_xlabel("pair")
    left.set_ylabel("CPU seconds")
    left.set_title(f"median ratio of a pair {ratio:.3f}", fontsize=9)
    left.legend(fontsize=8)
    right.bar([str(steps) for steps in memory], [size / 2**20 for size in memory.values()], width=0.5)
    right.set_xlabel("steps")
    right.set_ylabel("MiB of temporaries")
    return figure


def temporaries(model, path, steps: int, particles: int) -> int:
    """Bytes of temporaries in the compiled run."""

    def run(arrays, static, grid):
        whole = eqx.combine(arrays, static)
        return fk.run_smc(jax.random.key(0), whole, grid, particles)

    arrays, static = eqx.partition(model, eqx.is_array)
    compiled = jax.jit(lambda a, g: run(a, static, g)).lower(arrays, fk.grid(steps, path)).compile()
    analysis = compiled.memory_analysis()
    return int(analysis.temp_size_in_bytes)


if __name__ == "__main__":
    main()
