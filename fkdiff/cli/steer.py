"""`fkdiff steer RUN --config CONFIG --out OUT [--KEY VALUE ...]`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fkdiff.cli.overrides import override
from fkdiff.cli.steer_config import SteerConfig, load_steer_config
from fkdiff.errors import require
from fkdiff.train.files import check_name, fresh_folder, refuse_existing


def run(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Refuses what can be refused before JAX is imported, then steers."""
    config = override(load_steer_config(arguments.config), rest)
    out = check_name(arguments.out)
    refuse_existing(out)
    require(
        arguments.run.is_dir(),
        f"{arguments.run}: there is no such run; train it with fkdiff train CONFIG --out {arguments.run} first.",
    )

    from fkdiff.cli.cache import enable_cache

    enable_cache()
    return steer(arguments.run, config, out, arguments.observation)


def steer(run_folder: Path, config: SteerConfig, out: Path, observation: Path | None = None) -> int:
    """Steers a trained model as `config` says and writes `out`: draws, weights, pictures or text, a summary.

    OUT/particles.npz     per case: weighted particles, equally weighted draws, draws of the baseline
    OUT/samples.png       draws, exact above and the baseline below; samples.txt for text
    OUT/report_CASE.png   ESS, R, log-weights, ancestors, samples
    OUT/summary.json      figures, verdicts, the config
    """
    from fkdiff.cli import record
    from fkdiff.cli.families import family_of
    from fkdiff.cli.outcome import sample
    from fkdiff.cli.verdict import contradictions
    from fkdiff.train.run import load_run

    loaded = load_run(run_folder)
    family, outcomes = family_of(config, loaded, observation), []
    for number, case in enumerate(family.cases(config, loaded, observation)):
        outcomes.append(sample(case, config, number))
        print(record.row(outcomes[-1]), flush=True)
    verdicts = family.judged(outcomes, config, loaded)
    cases: list[dict[str, Any]] = [
        record.facts(o) | ({"judge": verdicts[i]} if verdicts else {}) for i, o in enumerate(outcomes)
    ]
    for case in cases:
        for doubt in (found := contradictions(case)):
            print(f"{case['case']}\n  doubt: {doubt}", flush=True)
        case["doubts"].extend(found)
    with fresh_folder(out) as folder:
        names = record.write(folder, outcomes, cases, family.sheet(outcomes, loaded), config, run_folder, loaded)
    print(family.table(cases))
    if verdicts:
        print(family.legend)
    for name in names:
        print(f"  {out / name}")
    return 0
