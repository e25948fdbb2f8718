"""What one steering run yields: exact draws beside the heuristic's at equal cost, judged, written, tabulated."""

from __future__ import annotations

import io
import json
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fkdiff import plot, smc
from fkdiff.cli.steer_config import SteerConfig
from fkdiff.cli.tasks import Case
from fkdiff.core import check
from fkdiff.core.keys import Use, seed_key, stream
from fkdiff.correctors import Corrector
from fkdiff.errors import FkdiffWarning
from fkdiff.paths import grid
from fkdiff.smc import SMCResult
from fkdiff.solvers import euler, heun, integrate
from fkdiff.train.data import pixels
from fkdiff.train.files import write_file


class Outcome(NamedTuple):
    """A case, sampled.

    Attributes:
        case: What was asked.
        result: The (first) population.
        log_z: log Z, its standard error, and whether that only bounds from below.
        draws: Equally weighted draws, (n, *shape).
        heuristic: Draws of the uncorrected heuristic at the same evaluations + jvps, (n, *shape).
        seconds: Wall time of the exact run, compilation included, and of the heuristic.
        heuristic_cost: Model calls per draw of the heuristic.
        doubts: Sentences that ask for a second look.
    """

    case: Case
    result: SMCResult
    log_z: tuple[float, float, bool]
    draws: np.ndarray
    heuristic: np.ndarray
    seconds: tuple[float, float]
    heuristic_cost: int
    doubts: list[str]


def sample(case: Case, config: SteerConfig, number: int) -> Outcome:
    """Runs the engine and the heuristic."""
    engine = config.engine
    key = jax.random.fold_in(seed_key(config.seed), number)
    model = case.target.feynman_kac(engine.step, engine.noise, engine.control)
    times = grid(engine.num_steps, case.target.path)
    start = time.perf_counter()
    result, log_z, doubts = _populations(key, model, times, engine)
    seconds = time.perf_counter() - start
    draws = smc.resample(stream(key, Use.RESAMPLE), result, config.num_samples)
    start = time.perf_counter()
    total = int(result.info.evaluations) + int(result.info.jvps)
    plain, cost = _heuristic(stream(key, Use.NOISE), case, total, config.num_samples)
    waited = time.perf_counter() - start
    return Outcome(case, result, log_z, np.asarray(draws), np.asarray(plain), (seconds, waited), cost, doubts)


def _populations(key, model: Corrector, times, engine) -> tuple[SMCResult, tuple[float, float, bool], list[str]]:
    rule = smc.adaptive(smc.systematic, engine.resample_threshold)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FkdiffWarning)
        if engine.num_populations == 1:
            out = check(smc.run_smc(key, model, times, engine.num_particles, rule))
            error = smc.log_normalizer_error(out)
            found = out, (float(out.log_normalizer), float(error.standard_error), bool(error.is_lower_bound))
        else:
            many = check(smc.replicate(key, engine.num_populations, model, times, engine.num_particles, rule))
            evidence = many.evidence
            found = _pooled(many), (float(evidence.value), float(evidence.standard_error), False)
    return *found, [str(w.message) for w in caught if issubclass(w.category, FkdiffWarning)]


def _pooled(many) -> SMCResult:
    """All populations as one, each particle weighted by its population's Ẑ; diagnostics of the worst."""
    runs = many.runs
    flat = lambda leaf: leaf.reshape(-1, *leaf.shape[2:])  # noqa: E731
    within = jax.nn.log_softmax(runs.log_weights, axis=1) + runs.log_normalizer[:, None]
    worst = many.population(int(jnp.argmin(jnp.min(runs.info.ess, axis=1))))
    size = runs.log_weights.shape[1]
    offsets = size * jnp.arange(runs.log_weights.shape[0], dtype=jnp.int32)[:, None]
    info = eqx.tree_at(lambda i: i.ancestors, worst.info, flat(runs.info.ancestors + offsets))
    return SMCResult(jax.tree.map(flat, runs.particles), flat(within), many.log_normalizer, info, None, runs.scheme)


def _heuristic(key, case: Case, total: int, num_samples: int) -> tuple[jax.Array, int]:
    """Uncorrected draws: the flow for guidance, the reverse SDE for the rest, as people run them."""
    pred, factors = case.target.heuristic(), len(case.target.factors)
    solver = heun() if factors > 1 else euler(noise=1.0)
    per_step = solver.evaluations * factors
    steps = max(1, total // per_step)
    return integrate(key, pred, solver, grid(steps, pred.path), num_samples), steps * per_step


def judge(outcomes: list[Outcome], loaded) -> list[dict[str, Any]] | None:
    """What a judge says of exact and heuristic draws; None where the data are not digits."""
    if loaded.config.data.kind != "digits":
        return None
    from fkdiff.evaluate import digit_judge

    verdicts, judged = digit_judge(), []
    for o in outcomes:
        classes = None if o.case.asked is None else [o.case.asked]
        # Weighted draws of the whole population: more of them than are drawn, and none twice.
        sides = {"exact": o.draws, "heuristic": o.heuristic}
        judged.append({k: verdicts(v, o.case.asked, classes)._asdict() for k, v in sides.items()})
        for verdict in judged[-1].values():
            verdict["labels"] = verdict["labels"].tolist()
            verdict["balance"] = np.round(verdict["balance"], 4).tolist()
    return judged


def slug(o: Outcome) -> str:
    """The case's name in a file name."""
    return o.case.name.replace(" ", "_")


def facts(o: Outcome) -> dict[str, Any]:
    """The figures of one case, for JSON."""
    info, (log_z, error, bound) = o.result.info, o.log_z
    return {
        "case": o.case.name,
        "law": o.case.formula,
        "log_z": log_z,
        "log_z_standard_error": error,
        "log_z_error_is_lower_bound": bound,
        "num_particles": int(o.result.log_weights.shape[0]),
        "min_ess": float(jnp.min(info.ess)),
        "final_ess": float(info.ess[-1]),
        "R": float(info.R),
        "resamplings": int(info.resamplings),
        "evaluations": int(info.evaluations),
        "jvps": int(info.jvps),
        "seconds": round(o.seconds[0], 2),
        "distinct_ancestors": len(np.unique(np.asarray(info.ancestors))),
        "heuristic_evaluations": o.heuristic_cost,
        "heuristic_seconds": round(o.seconds[1], 2),
        "doubts": o.doubts,
    }


def write(folder: Path, outcomes: list[Outcome], judged, config: SteerConfig, run_folder: Path, loaded) -> None:
    """Writes draws, pictures and the summary."""
    arrays = {}
    for o in outcomes:
        arrays |= {
            f"{slug(o)}/particles": np.asarray(o.result.particles),
            f"{slug(o)}/log_weights": np.asarray(o.result.log_weights),
            f"{slug(o)}/draws": o.draws,
            f"{slug(o)}/heuristic": o.heuristic,
        }
        view = pixels(o.result.particles) if judged else None
        _save(folder / f"report_{slug(o)}.png", plot.report(o.result, view, f"{o.case.name}: {o.case.formula}"))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_file(folder / "particles.npz", buffer.getvalue())
    if judged:
        _save(folder / "samples.png", _sheet(outcomes))
    else:
        _save(folder / "samples.png", plot.report(outcomes[0].result))
    summary = {
        "run": str(run_folder),
        "step": loaded.step,
        "config_hash": loaded.config_hash,
        "config": config.model_dump(mode="json"),
        "cases": [facts(o) | ({"judge": judged[i]} if judged else {}) for i, o in enumerate(outcomes)],
    }
    write_file(folder / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False).encode())


def _sheet(outcomes: list[Outcome]):
    """Exact draws above, heuristic below, three rows of each case at most."""
    columns = 15
    rows = max(1, min(3 if len(outcomes) == 1 else 1, len(outcomes[0].draws) // columns))
    blocks = []
    for side in ("draws", "heuristic"):
        for o in outcomes:
            tiles = pixels(getattr(o, side)[: rows * columns])
            blocks.append(np.concatenate([tiles, np.zeros((-len(tiles) % columns, 8, 8), tiles.dtype)]))
        if side == "draws":
            blocks.append(np.ones((columns, 8, 8), np.float32))
    title = "exact, above; the uncorrected heuristic at equal cost, below"
    return plot.pictures(np.concatenate(blocks), columns, title, (0.0, 1.0))


def _save(file: Path, figure) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_file(file, buffer.getvalue())


def row(o: Outcome) -> str:
    """One line while the command runs."""
    found = facts(o)
    sign = "≥" if found["log_z_error_is_lower_bound"] else "±"
    line = (
        f"{found['case']}: log Z {found['log_z']:.2f} {sign} {found['log_z_standard_error']:.2f}, min ESS "
        f"{found['min_ess']:.0f} of {found['num_particles']}, R {found['R']:.2f}, {found['resamplings']} resamplings, "
        f"{found['seconds']:.0f} s"
    )
    return "\n  doubt: ".join([line, *o.doubts])


def table(outcomes: list[Outcome], judged) -> str:
    """The closing table: exact beside heuristic."""
    head = ("case", "draws", "log Z", "min ESS", "R", "calls", "accuracy", "Fréchet", "floor")
    lines: list[tuple[str, ...]] = [head]
    for i, o in enumerate(outcomes):
        found = facts(o)
        for side in ("exact", "heuristic"):
            exact = side == "exact"
            sign = "≥" if found["log_z_error_is_lower_bound"] else "±"
            verdict = judged[i][side] if judged else {}
            accuracy = verdict.get("accuracy")
            lines.append(
                (
                    o.case.name if exact else "",
                    side,
                    f"{found['log_z']:.2f} {sign} {found['log_z_standard_error']:.2f}" if exact else "",
                    f"{found['min_ess'] / found['num_particles']:.2f}" if exact else "",
                    f"{found['R']:.2f}" if exact else "",
                    str(found["evaluations"] + found["jvps"] if exact else found["heuristic_evaluations"]),
                    "" if accuracy is None else f"{accuracy:.2f}",
                    f"{verdict['frechet']:.2f}" if verdict else "",
                    f"{verdict['frechet_floor']:.2f}" if verdict else "",
                )
            )
    widths = [max(len(line[c]) for line in lines) for c in range(len(head))]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)) for line in lines)
