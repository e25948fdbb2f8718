"""`fkdiff train CONFIG --out RUN [--resume | --dry-run] [--data-root DIR] [--KEY VALUE ...]`."""

from __future__ import annotations

import argparse
import math
import sys

from fkdiff.cli.overrides import override
from fkdiff.errors import FkdiffError, require
from fkdiff.train.config import TrainConfig, load_config
from fkdiff.train.files import check_name


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Trains; 130 or 143 when a signal stopped it."""
    config = override(load_config(arguments.config), rest)
    if arguments.dry_run:
        require(not arguments.resume, "--dry-run and --resume: a dry run writes nothing; leave one of them out.")
        return _rehearse(config, arguments)
    if arguments.out is None:
        raise FkdiffError("--out is missing; name the run folder, or pass --dry-run.")
    folder = check_name(arguments.out)
    require(
        arguments.resume or not folder.exists(),
        f"--out={arguments.out} already exists and is never overwritten; choose another name, or pass --resume to "
        "continue it.",
    )

    from fkdiff.cli.cache import enable_cache
    from fkdiff.train.loop import train

    enable_cache()
    tell = lambda report: print(f"data: {report}", file=sys.stderr)  # noqa: E731
    result = train(config, folder, resume=arguments.resume, data_root=arguments.data_root, tell=tell)
    if result.stopped is not None:
        print(f"{arguments.out}: stopped at step {result.step}; go on with --resume.")
        return 128 + result.stopped
    against = ", ".join(f"{name} {value:.4f}" for name, value in result.baselines.items())
    unseen = f", held out {result.held_out:.4f}" if math.isfinite(result.held_out) else ""
    units = against and f" nats per character ({against})"
    print(f"{arguments.out}: {result.step} steps, loss {result.loss:.4f}{unseen}{units}.")
    return 0


def _rehearse(config: TrainConfig, arguments: argparse.Namespace) -> int:
    """What a run would be: everything is read and sized, nothing is written or trained."""
    if arguments.out is not None:
        require(not check_name(arguments.out).exists(), f"--out={arguments.out} already exists; choose another name.")

    import jax

    from fkdiff.train.data import example_shape
    from fkdiff.train.plan import resolved

    plan = resolved(config, arguments.data_root)
    state = jax.eval_shape(plan.start)  # shapes alone: nothing is drawn or allocated
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    steps, batches = plan.timetable.steps, plan.batches
    epochs = steps * batches.batch_size / batches.count
    print(f"data        {plan.report}")
    print(f"model       {config.model.kind}, {size:,} parameters, examples of shape {example_shape(plan.config)}")
    print(f"training    {steps:,} steps of {batches.batch_size}: {epochs:.1f} epochs")
    stored = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    print(f"checkpoint  {stored / 1e6:.1f} MB, of which two are kept")
    return 0
