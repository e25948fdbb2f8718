"""`fkdiff steer RUN --config CONFIG --out OUT [--KEY VALUE ...]`."""

from __future__ import annotations

import argparse
from pathlib import Path

from fkdiff.cli.overrides import override
from fkdiff.cli.steer_config import SteerConfig, load_steer_config
from fkdiff.errors import FkdiffError, require
from fkdiff.train.files import check_name, refuse_existing


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Refuses what can be refused before JAX is imported, then steers."""
    config = override(load_steer_config(arguments.config), rest)
    out = check_name(arguments.out)
    refuse_existing(out)
    require(
        arguments.run.is_dir(), f"{arguments.run}: there is no such run; train it with fkdiff train CONFIG --out first."
    )

    from fkdiff.cli.cache import enable_cache

    enable_cache()
    return steer(arguments.run, config, out)


def steer(run_folder: Path, config: SteerConfig, out: Path) -> int:
    """Steers a trained model as `config` says and writes `out`."""
    raise FkdiffError("steering from the command line is not available yet; use fkdiff.correctors from Python.")
