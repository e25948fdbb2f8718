"""`fkdiff eval RUN`: how good a trained model is, every figure beside its floor; RUN/evaluation.json."""

from __future__ import annotations

import argparse
import json

from fkdiff.errors import require
from fkdiff.tasks.tables import aligned
from fkdiff.train.files import write_file


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Measures, prints and saves."""
    require(arguments.num >= 16, f"--num={arguments.num} must be a whole number of at least 16.")
    require(arguments.likelihoods >= 1, f"--likelihoods={arguments.likelihoods} must be a whole number of at least 1.")
    require(0 <= arguments.seed < 2**32, f"--seed={arguments.seed} is outside [0, 2**32); choose one inside.")

    from fkdiff.cli.cache import enable_cache
    from fkdiff.core.keys import seed_key
    from fkdiff.evaluate.quality import evaluate_run
    from fkdiff.train.run import load_run

    enable_cache()
    loaded = load_run(arguments.run)
    key = seed_key(arguments.seed)
    rows = evaluate_run(key, loaded, arguments.num, arguments.likelihoods, arguments.data_root)
    facts = {"step": loaded.step, "config_hash": loaded.config_hash, "seed": arguments.seed}
    record = {**facts, "rows": [row._asdict() for row in rows]}
    write_file(arguments.run / "evaluation.json", json.dumps(record, indent=1, ensure_ascii=False).encode())
    print(table(rows))
    return 0


def table(rows) -> str:
    """Figures in columns: name, value ± error, floor ± deviation, note."""

    def with_error(value: float | None, error: float | None) -> str:
        if value is None:
            return ""
        return f"{value:.4g}" if error is None else f"{value:.4g} ± {error:.2g}"

    lines = [("figure", "value", "floor", "")]
    lines += [(r.name, with_error(r.value, r.error), with_error(r.floor, r.floor_error), r.note) for r in rows]
    return aligned(lines)
