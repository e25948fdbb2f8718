"""The entry point: parses, sends to one command, and turns what goes wrong into one line and an exit code.

Exit codes: 0 done; 2 bad input; 130 stopped by Ctrl-C and 143 by SIGTERM, with a checkpoint written.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

from fkdiff.errors import FkdiffError, did_you_mean

_EPILOG = (
    "Compiled programs are kept in $XDG_CACHE_HOME/fkdiff (~/.cache/fkdiff by default), so that a second run starts "
    "at once; the folder may be removed at any time."
)


class _Parser(argparse.ArgumentParser):
    """Complains in one sentence."""

    def error(self, message: str) -> NoReturn:
        raise FkdiffError(f"{message}; see {self.prog} --help.")


class _KeysHelp(argparse.Action):
    """Help that also lists the keys of the config that may be overridden."""

    def __init__(self, option_strings, dest, **kwargs):
        help_text = "show this help and exit"
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help_text)

    def __call__(self, parser, namespace, values, option_string=None):
        from fkdiff.cli.overrides import print_keys
        from fkdiff.tasks import Anneal, SteerConfig, load_steer_config
        from fkdiff.train.config import Digits, TrainConfig, load_config

        parser.print_help()
        given = getattr(namespace, "config", None)
        if "train" in parser.prog:
            print_keys(load_config(given) if given else TrainConfig(data=Digits()), "fkdiff train")
        else:
            print_keys(load_steer_config(given) if given else SteerConfig(task=Anneal()), "fkdiff steer")
        raise SystemExit(0)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(prog="fkdiff", description="Train, sample and steer generative models.", epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"fkdiff {importlib.metadata.version('fkdiff')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)

    def command(name: str, text: str, **options: Any) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, allow_abbrev=False, **options)

    train = command(
        "train",
        "train a model from a config file",
        add_help=False,
        usage="fkdiff train CONFIG --out RUN [--resume | --dry-run] [--data-root DIR] [--KEY VALUE ...]",
        epilog="Any key of the config may be set on the command line, as in --optim.learning_rate 3e-4.",
    )
    train.add_argument("config", type=Path, metavar="CONFIG", help="YAML file, for example configs/digits.yaml")
    train.add_argument("--out", type=Path, metavar="RUN", help="run folder; must not exist yet")
    train.add_argument("--resume", action="store_true", help="continue the run in RUN from its newest checkpoint")
    train.add_argument("--dry-run", action="store_true", help="read the data, size the model, and write nothing")
    train.add_argument(
        "--data-root",
        type=Path,
        default=Path("."),
        metavar="DIR",
        help="the config's files lie below it (default: here)",
    )
    train.add_argument("-h", "--help", action=_KeysHelp)

    sample = command("sample", "draw samples from a trained model")
    sample.add_argument("run", type=Path, metavar="RUN", help="run folder")
    sample.add_argument("--out", type=Path, required=True, help="output folder; must not exist yet")
    sample.add_argument("--num", type=int, default=64, help="number of samples, of each class with --class all")
    sample.add_argument("--class", dest="label", help="a class label, or all; without it the unconditional model")
    sample.add_argument("--guidance", type=float, help="guidance scale (a heuristic; fkdiff steer is exact)")
    sample.add_argument("--solver", choices=("heun", "euler", "ddim"), help="how to integrate")
    sample.add_argument("--steps", type=int, help="number of steps")
    sample.add_argument("--seed", type=int, default=0, help="a whole number in [0, 2**32)")

    steer = command(
        "steer",
        "draw exactly weighted samples of a guided, annealed, composed, rewarded or conditioned model",
        add_help=False,
        usage="fkdiff steer RUN --config CONFIG --out OUT [--observation FILE] [--KEY VALUE ...]",
        epilog="Any key of the config may be set on the command line, as in --engine.num_particles 1024.",
    )
    steer.add_argument("run", type=Path, metavar="RUN", help="run folder")
    steer.add_argument("--config", type=Path, required=True, help="YAML file, for example configs/steer/guidance.yaml")
    steer.add_argument("--out", type=Path, required=True, help="output folder; must not exist yet")
    steer.add_argument("--observation", type=Path, metavar="FILE", help="for task.kind inverse: what was seen, a .npy")
    steer.add_argument("-h", "--help", action=_KeysHelp)

    judge = command("eval", "measure a trained model, every figure beside the one that real data would get")
    judge.add_argument("run", type=Path, metavar="RUN", help="run folder; evaluation.json is written there")
    judge.add_argument("--num", type=int, default=512, help="samples to compare with held-out data")
    judge.add_argument("--likelihoods", type=int, default=64, help="held-out examples for bits per dimension")
    judge.add_argument("--data-root", type=Path, default=Path("."), metavar="DIR", help="the data's files lie below it")
    judge.add_argument("--seed", type=int, default=0, help="a whole number in [0, 2**32)")

    report = command("report", "write one HTML page about a run: curves, samples, figures, steering results, config")
    report.add_argument("run", type=Path, metavar="RUN", help="run folder; report.html is written there")
    report.add_argument(
        "--steered", type=Path, nargs="*", default=[], metavar="OUT", help="folders that fkdiff steer wrote"
    )

    config = command("config", "show, compare or describe configs")
    actions = config.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=_Parser)
    show = actions.add_parser("show", help="a config with every default written out; keys may be set as in train")
    show.add_argument("config", type=Path, metavar="CONFIG", help="a config file, or a run folder")
    schema = actions.add_parser("schema", help="the JSON Schema of a config, for editors")
    schema.add_argument("kind", choices=("train", "steer"), help="which config")
    diff = actions.add_parser("diff", help="the keys that differ; exit code 1 where there are any")
    diff.add_argument("config", type=Path, metavar="FIRST", help="a config file, or a run folder")
    diff.add_argument("other", type=Path, metavar="SECOND", help="another")

    info = command("info", "say what a run folder holds")
    info.add_argument("run", type=Path, metavar="RUN", help="run folder")
    return parser


_OVERRIDABLE = ("train", "steer", "config")


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    with warnings.catch_warnings():
        warnings.showwarning = _one_line
        try:
            arguments, rest = build_parser().parse_known_args(argv)
            if rest and arguments.command not in _OVERRIDABLE:
                known = [f"--{name}" for name in {**vars(arguments), "class": None} if name not in ("run", "command")]
                near = did_you_mean(rest[0], known) or f"; see fkdiff {arguments.command} --help."
                raise FkdiffError(f"unknown argument {rest[0]!r}{near}")
            command = importlib.import_module(f"fkdiff.cli.{arguments.command}")
            return command.run(arguments, rest)
        except FkdiffError as error:
            return _fail(str(error), 2)
        except BrokenPipeError:
            # Whoever read the output has gone: nothing to say, and nobody to say it to.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except OSError as error:
            return _fail(f"{error.filename}: {error.strerror}." if error.filename else str(error), 2)
        except KeyboardInterrupt:
            return _fail("stopped.", 130)


def _fail(message: str, code: int) -> int:
    # What came may hold anything; a terminal must not obey it.
    line = "".join(c if c.isprintable() else " " for c in message)
    print(f"fkdiff: {line}", file=sys.stderr)
    return code


def _one_line(message, category, filename, lineno, file=None, line=None):
    print(f"fkdiff: warning: {message}", file=sys.stderr)
