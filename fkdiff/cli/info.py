"""`fkdiff info RUN`: what a run folder holds, and whether it is whole."""

from __future__ import annotations

import argparse
import json

from fkdiff.errors import require
from fkdiff.train.yaml import dump_yaml


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Prints the config, the newest whole checkpoint and the last line of the metrics."""
    folder = arguments.run
    require(folder.is_dir(), f"{folder}: there is no such run; train it with fkdiff train CONFIG --out {folder} first.")

    import jax

    from fkdiff.train.run import load_run

    loaded = load_run(folder)
    size = sum(leaf.size for leaf in jax.tree.leaves(loaded.predictor.rule.params))  # type: ignore[attr-defined]
    print(f"run         {folder}")
    print(f"checkpoint  step {loaded.step} of {loaded.config.optim.steps}, verified")
    print(f"parameters  {size:,}")
    print(f"example     {'×'.join(map(str, loaded.predictor.shape))}, {loaded.num_classes or 'no'} classes")
    print(f"config      {loaded.config_hash[:16]}")
    metrics = folder / "metrics.jsonl"
    last = metrics.read_text().splitlines()[-1:] if metrics.is_file() else []
    for name, value in (json.loads(last[0]) if last else {}).items():
        print(f"  {name:<22}{value}")
    print(dump_yaml(loaded.config.model_dump(mode="json")), end="")
    return 0
