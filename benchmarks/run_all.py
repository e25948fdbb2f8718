"""`make bench`: every benchmark, one after the other, each in a process of its own.

`tempered` and `chains` compare with other libraries: `pip install -e '.[benchmarks]'` first.
"""

from __future__ import annotations

import subprocess
import sys

NAMES = (
    "demo",
    "training",
    "solvers",
    "crash",
    "exactness",
    "golden",
    "modes",
    "unseen",
    "coverage",
    "honesty",
    "learned",
    "steering",
    "chain_law",
    "conformance",
    "floors",
    "inverse",
    "text",
    "gradients",
    "tempered",
    "chains",
    "overhead",
    "resampling",
)


def main() -> None:
    failed = []
    for name in NAMES:
        print(f"\n== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]]).returncode:
            failed.append(name)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
