"""`fkdiff train CONFIG --out RUN [--resume] [--KEY VALUE ...]`."""

from __future__ import annotations

import argparse

from fkdiff.cli.overrides import override
from fkdiff.errors import require
from fkdiff.train.config import load_config
from fkdiff.train.files import check_name


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Trains; 130 or 143 when a signal stopped it."""
    config = override(load_config(arguments.config), rest)
    folder = check_name(arguments.out)
    require(
        arguments.resume or not folder.exists(),
        f"--out={arguments.out} already exists and is never overwritten; choose another name, or pass --resume to "
        "continue it.",
    )

    from fkdiff.cli.cache import enable_cache
    from fkdiff.train.loop import train

    enable_cache()
    result = train(config, folder, resume=arguments.resume)
    if result.stopped is not None:
        print(f"{arguments.out}: stopped at step {result.step}; go on with --resume.")
        return 128 + result.stopped
    against = ", ".join(f"{name} {value:.4f}" for name, value in result.baselines.items())
    print(
        f"{arguments.out}: {result.step} steps, loss {result.loss:.4f}, held out {result.held_out:.4f}"
        f"{against and f' nats per character ({against})'}."
    )
    return 0
