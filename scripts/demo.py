"""The main job, end to end, on real digits: train a small model, then draw from something else, exactly.

Run by `make demo`; five minutes on two cores. Every step is an ordinary `fkdiff` command that you can type yourself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

TASKS = {
    "guidance": "digits 3, 5 and 8, guided at scale 3",
    "anneal": "all digits, annealed at β = 1.5",
    "reward": "thick digits, by an ink budget",
}


def fkdiff(*arguments: object) -> None:
    """Types one command, aloud."""
    line = [str(a) for a in arguments]
    print(f"\n$ fkdiff {' '.join(line)}", flush=True)
    subprocess.run([sys.executable, "-m", "fkdiff.cli", *line], check=True)


def free(folder: Path) -> Path:
    """`folder`, or the first of folder-2, folder-3, … that does not exist: nothing is overwritten."""
    candidate, number = folder, 2
    while candidate.exists():
        candidate, number = folder.with_name(f"{folder.name}-{number}"), number + 1
    return candidate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="where everything goes")
    root = free(parser.parse_args().out)
    started = time.perf_counter()
    run = root / "digits"
    fkdiff("train", "configs/digits.yaml", "--out", run)
    for task in TASKS:
        fkdiff("steer", run, "--config", f"configs/steer/{task}.yaml", "--out", root / task)

    print(
        "\n" + "what".ljust(40) + "log Z".ljust(18) + "min ESS   R      accuracy: exact / heuristic   Fréchet (floor)"
    )
    for task, words in TASKS.items():
        for case in json.loads((root / task / "summary.json").read_text())["cases"]:
            judge = case["judge"]
            asked = judge["exact"]["accuracy"] is not None
            accuracy = " / ".join(f"{judge[s]['accuracy']:.2f}" for s in ("exact", "heuristic")) if asked else "-"
            distance = " / ".join(f"{judge[s]['frechet']:.1f}" for s in ("exact", "heuristic"))
            sign = "≥" if case["log_z_error_is_lower_bound"] else "±"
            print(
                f"{words if case['case'] in words or task != 'guidance' else 'guided, ' + case['case']}".ljust(40)
                + f"{case['log_z']:.2f} {sign} {case['log_z_standard_error']:.2f}".ljust(18)
                + f"{case['min_ess'] / case['num_particles']:.2f}".ljust(10)
                + f"{case['R']:.2f}".ljust(7)
                + accuracy.ljust(30)
                + f"{distance} ({judge['exact']['frechet_floor']:.1f})"
            )
    print(f"\nThe pictures, after {time.perf_counter() - started:.0f} s:")
    for picture in sorted(root.rglob("*.png")):
        print(f"  {picture}")


if __name__ == "__main__":
    main()
