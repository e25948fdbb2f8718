"""The main job as a newcomer meets it: `make demo` from a cold start, its figures and its picture of guided digits.

Runs scripts/demo.py in an empty folder with an empty cache of compiled programs. --quick changes where the figures go
and nothing else: there is only one demo.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import arguments, folder, save
from fkdiff.tasks.tables import examples_table as table


def main() -> None:
    args = arguments(__doc__)
    args.started = time.time()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "demo"
        environment = os.environ | {"XDG_CACHE_HOME": str(Path(scratch) / "cache")}
        subprocess.run([sys.executable, "scripts/demo.py", "--out", str(root)], check=True, env=environment)
        rows = []
        for task in ("guidance", "anneal", "reward"):
            cases = json.loads((root / task / "summary.json").read_text())["cases"]
            print(table(cases))
            rows += [{"task": task, **case} for case in cases]
        shutil.copyfile(root / "guidance" / "samples.png", folder(args) / "demo.png")
    save(args, "demo", rows)


if __name__ == "__main__":
    main()
