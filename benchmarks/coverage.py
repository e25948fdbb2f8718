"""Coverage: do nominal 95 % intervals of log Z and of an expectation hold the truth in 92 to 100 % of 200 runs?

Single-run intervals and intervals from `replicate` (5 populations each), per golden row, by controlled Heun.
"""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import numpy as np

import fkdiff as fk
from benchmarks.common import arguments, golden, save, table
from fkdiff.smc.estimate import Estimate

GROUP = 5


def first(x):
    """The expectation asked for: E x."""
    return x[0]


def main() -> None:
    args = arguments(__doc__)
    args.started = time.time()
    runs, count, steps = (20, 128, 24) if args.quick else (200, 2048, 64)
    path, rows = fk.paths.variance_preserving(), []
    for name, row in golden(path, reached=True).items():
        model, grid = row.target.feynman_kac("heun"), fk.grid(steps, path)
        many = fk.replicate(jax.random.key(11), runs * GROUP, model, grid, count)
        rows.append({"target": name, **coverage(many, row, runs)})
        print(table(rows[-1:]).splitlines()[1], flush=True)
    print(table(rows))
    shares = [r[k] for r in rows for k in rows[0] if k.startswith("covered")]
    save(args, "coverage", rows, runs=runs, num_particles=count, steps=steps, lowest=min(shares), highest=max(shares))


def coverage(many, row, runs: int) -> dict:
    """Shares of intervals that hold the truth."""
    single = jax.lax.map(_single, many.runs)
    hit = {"log Z": [], "E x": [], "log Z, replicate": [], "E x, replicate": []}
    for r in range(runs):
        for what, (value, error), truth in (
            ("log Z", single[0], row.log_z),
            ("E x", single[1], row.mean),
        ):
            low, high = Estimate(value[r], error[r]).interval()
            hit[what].append(bool(low <= truth <= high))
        group = fk.smc.Replicates(jax.tree.map(lambda leaf: leaf[r * GROUP : (r + 1) * GROUP], many.runs))  # noqa: B023
        for what, estimate, truth in (
            ("log Z, replicate", group.evidence, row.log_z),
            ("E x, replicate", group.expectation(first), row.mean),
        ):
            low, high = estimate.interval()
            hit[what].append(bool(low <= truth <= high))
    log_z = np.asarray(many.runs.log_normalizer, np.float64)
    return {
        **{f"covered {k}": float(np.mean(v)) for k, v in hit.items()},
        "log Z bias": float(log_z.mean() - row.log_z),
        "log Z sd": float(log_z.std(ddof=1)),
        "mean reported sd": float(np.mean(single[0][1])),
    }


@jax.jit
def _single(out):
    estimate = fk.expectation(out, first)
    error = fk.smc.log_normalizer_error(out).standard_error
    return (out.log_normalizer, error), (estimate.value, jnp.asarray(estimate.standard_error))


if __name__ == "__main__":
    main()
