"""Modes in which no particle starts: do witnesses find what no diagnostic of a run can show?

The problems of `modes`, N = 4,096, controlled Heun. Each run is asked twice: `check` of the run, and `check` of 2,000
draws of the unsteered model as witnesses. A right run that witnesses doubt is a false alarm.
"""

from __future__ import annotations

import time
import warnings

import jax
import numpy as np
from matplotlib.figure import Figure

import fkdiff as fk
from benchmarks.common import arguments, save, table
from benchmarks.modes import BETA, STEPS, floor, is_wrong, measure, problem

WITNESSES, PILOT = 2000, 1024


def doubted(witnesses) -> bool:
    """Whether `check` has a word to say."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", fk.FkdiffWarning)
        fk.check(witnesses)
    return bool(caught)


def main() -> None:
    args = arguments(__doc__)
    args.started = time.time()
    dimensions, count, seeds = ((2,), 512, 2) if args.quick else ((2, 8, 32), 4096, 5)
    rows = []
    for kind in ("balanced", "starved", "unseen"):
        for dimension in dimensions:
            path, mixture, masses, log_z = problem(kind, dimension)
            model = fk.correctors.anneal(mixture.predictor(path), BETA).feynman_kac("heun")
            grid, law = fk.grid(STEPS, path), mixture.at(path, path.t_max)
            found = []
            for seed in range(seeds):
                key_run, key_pilot, key_draws, key_probe = jax.random.split(jax.random.key(seed), 4)
                out = fk.run_smc(key_run, model, grid, count, safety=False)
                frozen = fk.smc.freeze(key_pilot, model, grid, PILOT)
                seen = fk.correctors.witness(key_probe, frozen, out, law.sample(key_draws, WITNESSES))
                errors = measure(out, mixture, masses, log_z, path)
                heavy = np.sum(~(np.asarray(seen.log_excess) <= seen.limit))
                wrong = is_wrong(errors, floor(masses, count))
                found.append((errors["L1"], errors["log Z error"], wrong, errors["flagged"], doubted(seen), heavy))
            l1, error, wrong, flagged, alarmed, heavy = (np.asarray(v) for v in zip(*found, strict=True))
            rows.append(
                {
                    "kind": kind,
                    "d": dimension,
                    "N": count,
                    "L1": l1.mean(),
                    "floor": floor(masses, count),
                    "log Z error": error.mean(),
                    "wrong runs": int(wrong.sum()),
                    "flagged by the run": int((wrong & flagged).sum()),
                    "flagged by witnesses": int((wrong & alarmed).sum()),
                    "flagged by neither": int((wrong & ~flagged & ~alarmed).sum()),
                    "false alarms of witnesses": int((~wrong & alarmed).sum()),
                    "heavy witnesses": heavy.mean(),
                }
            )
            print(table(rows[-1:]).splitlines()[1], flush=True)
    print(table(rows))
    missed = sum(row["flagged by neither"] for row in rows)
    print(f"wrong runs that nothing doubts: {missed}")
    save(
        args,
        "unseen",
        rows,
        draw(rows),
        seeds=seeds,
        witnesses=WITNESSES,
        pilot=PILOT,
        wrong_runs_without_a_doubt=missed,
    )


def draw(rows: list[dict]) -> Figure:
    """Wrong runs, and how many of them each check doubts."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    columns = ("wrong runs", "flagged by the run", "flagged by witnesses", "false alarms of witnesses")
    for i, column in enumerate(columns):
        axes.bar(np.arange(len(rows)) + 0.2 * (i - 1.5), [row[column] for row in rows], width=0.2, label=column)
    axes.set_xticks(range(len(rows)), [f"{row['kind']}\nd = {row['d']}" for row in rows], fontsize=8)
    axes.set_ylabel("runs")
    axes.legend(fontsize=7)
    return figure


if __name__ == "__main__":
    main()
