"""The main job, end to end, on real digits: train a small model, then draw from something else, exactly.

Run by `make demo`; under five minutes on two cores. Every step is an ordinary `fkdiff` command that you can type
yourself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from fkdiff.tasks.tables import examples_table as table

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

    print()
    for task, words in TASKS.items():
        print(f"{words}\n{table(json.loads((root / task / 'summary.json').read_text())['cases'])}\n")
    print(
        "Accuracy and balance are a judge's, trained on digits that nothing else has seen. Balance: total variation\n"
        "between the classes drawn and those of the exact target. Fréchet: distance to real digits, in the judge's\n"
        "features; it falls only where the target resembles them. In brackets: what exact draws would score.\n"
    )
    print(f"The pictures, after {time.perf_counter() - started:.0f} s:")
    for picture in sorted(root.rglob("*.png")):
        print(f"  {picture}")


if __name__ == "__main__":
    main()
