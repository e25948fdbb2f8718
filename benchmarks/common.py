"""What every benchmark shares: --quick, results as JSON and PNG beside the device's name, and the golden targets."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

import fkdiff as fk

RESULTS = Path(__file__).parent / "results"


def arguments(description: str, add: Callable[[argparse.ArgumentParser], object] | None = None) -> argparse.Namespace:
    """--quick for a look in seconds; without it, the committed figures. `add(parser)` adds a benchmark's own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small sizes, nothing committed: results/quick/")
    parser.add_argument("--out", type=Path, default=None, help="folder for the results")
    if add is not None:
        add(parser)
    return parser.parse_args()


def folder(args: argparse.Namespace) -> Path:
    """Where results go; quick looks never overwrite committed figures."""
    where = args.out or (RESULTS / "quick" if args.quick else RESULTS)
    where.mkdir(parents=True, exist_ok=True)
    return where


def device() -> str:
    """The hardware that the figures were measured on."""
    first = jax.devices()[0]
    return first.device_kind if first.platform != "cpu" else f"CPU, {platform.machine()}"


def save(args: argparse.Namespace, name: str, rows: list[dict], figure=None, **facts) -> None:
    """Writes NAME.json (and NAME.png), rounded to what the measurement can bear."""
    started = getattr(args, "started", None)
    record = {
        "benchmark": name,
        "command": "python -m benchmarks." + Path(sys.argv[0]).stem + (" --quick" if args.quick else ""),
        "device": device(),
        "jax": jax.__version__,
        "seconds": round(time.time() - started, 1) if started else None,
        **facts,
        "rows": rows,
    }
    where = folder(args)
    (where / f"{name}.json").write_text(json.dumps(_rounded(record), indent=1, ensure_ascii=False) + "\n")
    if figure is not None:
        figure.savefig(where / f"{name}.png", dpi=110)
    print(f"wrote {where / name}.json" + (" and .png" if figure is not None else ""))


def _rounded(value):
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    if isinstance(value, np.ndarray | jax.Array):
        return _rounded(np.asarray(value).tolist())
    if isinstance(value, float | np.floating):
        return float(f"{value:.4g}")
    return value.item() if isinstance(value, np.generic) else value


def table(rows: list[dict], columns: list[str] | None = None) -> str:
    """Rows as aligned text."""
    columns = columns or list(rows[0])

    def cell(value):
        return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)

    texts = [columns] + [[cell(row.get(c, "")) for c in columns] for row in rows]
    widths = [max(len(line[i]) for line in texts) for i in range(len(columns))]
    return "\n".join("  ".join(t.rjust(w) for t, w in zip(line, widths, strict=True)) for line in texts)


class Golden(NamedTuple):
    """A row of the golden table: target on a path, and its exact values by quadrature."""

    target: object
    mean: float
    second: float
    left: float
    log_z: float


# Two mixtures in one dimension, skewed and unequal on purpose.
A = ([[-2.0], [1.5]], [0.25, 0.64], [0.3, 0.7])
C = ([[-1.5], [2.0]], [0.49, 0.36], [0.6, 0.4])


def hill(x):
    """The reward of the last golden row: a log-likelihood."""
    return -0.75 * (x[0] - 1.0) ** 2


def golden(path, reached: bool = False) -> dict[str, Golden]:
    """The golden rows on a path. Exact values by quadrature here, not copied from anywhere.

    Those of the data, or (`reached`) of the law at t_max, which still has a little noise: a difference of 3e-4 nats.
    """
    alpha, sigma = (float(path.alpha(path.t_max)), float(path.sigma(path.t_max))) if reached else (1.0, 0.0)
    a, c = (fk.targets.gaussian_mixture(*spec).predictor(path) for spec in (A, C))
    rules = fk.correctors
    rows = {
        "A²": (rules.anneal(a, 2.0), (2.0, 0.0), None),
        "A^½": (rules.anneal(a, 0.5), (0.5, 0.0), None),
        "A⁻¹C²": (rules.guidance(c, a, 2.0), (-1.0, 2.0), None),
        "A^½C^½": (rules.product([a, c], [0.5, 0.5]), (0.5, 0.5), None),
        "AC": (rules.product([a, c]), (1.0, 1.0), None),
        "(AC)²": (rules.anneal(rules.product([a, c]), 2.0), (2.0, 2.0), None),
        "A·tilt": (rules.tilt(a, hill), (1.0, 0.0), lambda x: -0.75 * (x - 1.0) ** 2),
    }
    return {
        name: Golden(target, *quadrature(betas, reward, alpha, sigma)) for name, (target, betas, reward) in rows.items()
    }


def log_mixture(spec, x: np.ndarray) -> np.ndarray:
    """log-density of a one-dimensional mixture, in NumPy."""
    means, variances, weights = (np.asarray(v, np.float64).reshape(-1) for v in spec)
    z = -0.5 * (x[:, None] - means) ** 2 / variances - 0.5 * np.log(2 * np.pi * variances) + np.log(weights)
    return np.logaddexp.reduce(z, axis=1)


def noised(spec, alpha: float, sigma: float):
    """The law of α x + σ noise for x from a mixture."""
    means, variances, weights = (np.asarray(v, np.float64) for v in spec)
    return alpha * means, alpha**2 * variances + sigma**2, weights


def quadrature(betas, reward, alpha: float = 1.0, sigma: float = 0.0) -> tuple[float, float, float, float]:
    """mean, E x², P(x < 0), log Z of A^a C^c e^r on a grid of 200,001 points, A and C noised as (α, σ) say."""
    x = np.linspace(-14, 14, 200_001)
    specs = (noised(A, alpha, sigma), noised(C, alpha, sigma))
    log_p = sum(b * log_mixture(spec, x) for b, spec in zip(betas, specs, strict=True) if b)
    log_p = log_p + (reward(x) if reward else 0)
    p = np.exp(log_p)
    z = np.trapezoid(p, x)
    p /= z
    left = np.trapezoid(np.where(x < 0, p, 0), x)
    return float(np.trapezoid(p * x, x)), float(np.trapezoid(p * x**2, x)), float(left), float(np.log(z))
