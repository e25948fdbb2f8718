"""`fkdiff steer RUN --config CONFIG --out OUT [--KEY VALUE ...]`."""

from __future__ import annotations

import argparse

from fkdiff import tasks
from fkdiff.cli.overrides import override
from fkdiff.train.files import check_name, existing_run, refuse_existing


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Refuses what can be refused before JAX is imported, then steers."""
    config = override(tasks.load_steer_config(arguments.config), rest)
    refuse_existing(check_name(arguments.out))
    existing_run(arguments.run)

    from fkdiff.cli.cache import enable_cache

    enable_cache()
    say = lambda line: print(line, flush=True)  # noqa: E731
    steered = tasks.run(arguments.run, config, arguments.out, arguments.observation, say)
    print(steered.table)
    for file in steered.files:
        print(f"  {file}")
    return 0
