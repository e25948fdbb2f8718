"""`fkdiff info RUN`: what a run folder holds, and whether it is whole."""

from __future__ import annotations

import argparse
from typing import Any

from fkdiff.train.config import TrainConfig
from fkdiff.train.files import existing_run, metric_rows
from fkdiff.train.yaml import dump_yaml


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Prints the config, the newest whole checkpoint and the last line of the metrics."""
    folder = existing_run(arguments.run)

    import jax

    from fkdiff.train.run import load_run

    loaded = load_run(folder)
    size = sum(leaf.size for leaf in jax.tree.leaves(loaded.params))
    print(f"run         {folder}")
    print(f"checkpoint  step {loaded.step} of {loaded.config.optim.steps}, verified")
    print(f"parameters  {size:,}")
    print(f"example     {'×'.join(map(str, loaded.shape))}, {loaded.num_classes or 'no'} classes")
    if loaded.corpus is not None and loaded.vocabulary is not None:
        print(f"vocabulary  {len(loaded.vocabulary)} characters and a mask")
        print(f"corpus      {_corpus(loaded.corpus, loaded.config)}")
    print(f"config      {loaded.config_hash[:16]}")
    last = metric_rows(folder / "metrics.jsonl")[-1:]
    for name, value in (last[0] if last else {}).items():
        print(f"  {name:<22}{value}")
    print(dump_yaml(loaded.config.model_dump(mode="json")), end="")
    return 0


def _corpus(corpus: dict[str, Any], config: TrainConfig) -> str:
    """What the text was, and whether this Python still has it."""
    from fkdiff.train.data import data_facts

    counts = ", ".join(f"{part} {facts['characters']:,} characters" for part, facts in corpus["parts"].items())
    same = "as in this Python" if data_facts(config)["corpus"] == corpus else "not the text in this Python"
    return f"{corpus['name']}, SHA-256 {corpus['sha256']}, {same}: {counts}"
