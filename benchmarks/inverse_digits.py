"""Inpainting, super-resolution and deblurring of digits by a trained model.

Two truths: digits that the model drew itself, for which its posterior is the right one and must be calibrated; and
held-out digits (as the path shows them at t_max: the law that a sampler reaches still has that little noise), where
what the model has not learned is in the errors too. The reference is the mean and covariance of the training digits.
"""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

import fkdiff as fk
from benchmarks.common import table
from fkdiff import inverse_problems, smc

NOISE, SOLVER = 0.2, fk.solvers.ddim(eta=1.0)
METHODS = {
    "adapted": ("adapted", True),
    "ΠGDM": ("pigdm", True),
    "adapted, no weights": ("adapted", False),
    "ΠGDM, no weights": ("pigdm", False),
}


def operators() -> dict[str, inverse_problems.LinearOperator]:
    """What is seen of a picture of 8 × 8."""
    keep = np.ones((8, 8), bool)
    keep[2:, 2:6] = False
    kernel = np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0]) / 16
    return {
        "inpainting": inverse_problems.mask(keep),
        "super-resolution": inverse_problems.downsample(2, (8, 8)),
        "deblurring": inverse_problems.blur(kernel, (8, 8)),
    }


class Answers(NamedTuple):
    """Of one method on one task, over digits.

    Attributes:
        mean: Posterior means, (n, 64).
        deviation: Posterior standard deviations, (n, 64).
        draws: Three draws each, (n, 3, 64).
        rank: Posterior mass below the truth, by pixel, (n, 64).
        log_evidence: log p(y), (n,).
        ess: Smallest ESS over N of each run, (n,).
    """

    mean: Any
    deviation: Any
    draws: Any
    rank: Any
    log_evidence: Any
    ess: Any


def trained(quick: bool):
    """A run of configs/digits.yaml in a temporary folder."""
    from fkdiff.train.config import load_config

    config = load_config("configs/digits.yaml")
    if quick:
        config = config.model_copy(update={"optim": config.optim.model_copy(update={"steps": 200})})
    where = Path(tempfile.mkdtemp()) / "digits"
    fk.train.train(config, where)
    return fk.train.load_run(where)


def study(folder: Path | None, quick: bool) -> tuple[list[dict], Figure]:
    """Rows of errors and coverage, and the picture.

    Args:
        folder: A run folder of the digits; one is trained here when it is None.
        quick: Inpainting alone, of few digits, by one proposal.
    """
    from fkdiff.train.data import held_out, load_data

    run = trained(quick) if folder is None else fk.train.load_run(folder)
    count, steps, number = (128, 16, 3) if quick else (1024, 32, 60)
    pred, path = run.predictor, run.predictor.path
    grid = fk.grid(steps, path)
    known = load_data(run.config).examples.reshape(-1, 64).astype(np.float64)
    reference = (known.mean(0).astype(np.float32).reshape(pred.shape), np.cov(known.T).astype(np.float32))
    rng = np.random.default_rng(11)
    clean = held_out(run.config).examples
    clean = jnp.asarray(clean[rng.choice(len(clean), number, replace=False)])
    truths = {
        "held-out digits": jax.vmap(path.noised, (0, 0, None))(
            clean, jax.random.normal(jax.random.key(1), clean.shape), path.t_max
        ),
        "the model's own": fk.integrate(jax.random.key(4), pred, SOLVER, grid, number),
    }
    rows, shown = [], {}
    for (task, seen), source in itertools.product(operators().items(), truths):
        if quick and (task, source) != ("inpainting", "held-out digits"):
            continue
        truth = truths[source]
        operator = inverse_problems.matrix(seen.matrix, pred.shape)
        noise = NOISE * jax.random.normal(jax.random.key(2), (number, *operator.observed))
        ys = jax.vmap(operator.apply)(truth) + noise
        for name, (proposal, weighted) in METHODS.items():
            if quick and proposal != "adapted":
                continue
            found = answer(pred, operator, ys, truth, reference, proposal, weighted, grid, count)
            named = {"task": task, "truth": source, "method": name}
            rows.append({**named, **facts(found, truth, operator), "N": count, "steps": steps})
            print(table(rows[-1:]).splitlines()[1], flush=True)
            if name == "adapted" and source == "held-out digits":
                shown[task] = (np.asarray(truth), seen, np.asarray(ys), found)
    return rows, draw(shown)


def answer(pred, operator, ys, truth, reference, proposal, weighted, grid, count) -> Answers:
    """One posterior per observation, compiled once."""

    @eqx.filter_jit
    def ask(pred, keys, ys, truths):
        def one(case):
            key, y, x = case
            model = fk.inverse(pred, SOLVER, operator, y, NOISE, proposal=proposal, reference=reference)
            key_run, key_draw = jax.random.split(key)
            out = fk.run_smc(key_run, model if weighted else smc.unweighted(model), grid, count)
            weights, flat = jax.nn.softmax(out.log_weights), out.particles.reshape(count, -1)
            mean = weights @ flat
            deviation = jnp.sqrt(weights @ (flat - mean[None]) ** 2)
            chosen = jax.random.categorical(key_draw, out.log_weights, shape=(3,))
            below = weights @ (flat < x.reshape(1, -1)).astype(flat.dtype)
            return Answers(mean, deviation, flat[chosen], below, out.log_normalizer, out.info.ess.min() / count)

        return jax.lax.map(one, (keys, ys, truths))

    return jax.tree.map(np.asarray, ask(pred, jax.random.split(jax.random.key(3), len(ys)), ys, truth))


def facts(found: Answers, truth, operator) -> dict:
    """Errors and coverage over digits and pixels; `unseen` are the pixels that no observation weighs."""
    truth = np.asarray(truth).reshape(len(found.mean), -1)
    unseen = ~np.asarray(operator.matrix).any(axis=0)
    covered = (found.rank >= 0.05) & (found.rank <= 0.95)
    return {
        "RMSE of the mean": float(np.sqrt(np.mean((found.mean - truth) ** 2))),
        "mean deviation": float(found.deviation.mean()),
        "90 % covers": float(covered.mean()),
        "90 % covers, unseen pixels": float(covered[:, unseen].mean()) if unseen.any() else "",
        "log p(y)": float(found.log_evidence.mean()),
        "min ESS / N": float(found.ess.mean()),
        "digits": len(truth),
    }


def draw(shown: dict, examples: int = 2) -> Figure:
    """Truth, observation, posterior mean, three draws and the posterior deviation, two digits a task."""
    titles = ["truth", "observed", "mean", "draw", "draw", "draw", "deviation"]
    examples = min(examples, *(len(found.mean) for _, _, _, found in shown.values()))
    figure = Figure(figsize=(7.4, 1.1 * examples * len(shown) + 0.3), layout="constrained")
    panels = figure.subplots(examples * len(shown), len(titles), squeeze=False)
    for row, (task, i) in enumerate((task, i) for task in shown for i in range(examples)):
        truth, operator, ys, found = shown[task]
        pictures = [truth[i], observed(operator, ys[i]), found.mean[i], *found.draws[i], found.deviation[i]]
        for axes, title, picture in zip(panels[row], titles, pictures, strict=True):
            side = int(np.sqrt(np.size(picture)))
            limits = (0.0, 1.0) if title == "deviation" else (-0.82, 1.85)  # grey levels 0 and 16
            cmap = colormaps["magma" if title == "deviation" else "gray"].with_extremes(bad="steelblue")
            axes.imshow(np.reshape(picture, (side, side)), cmap=cmap, vmin=limits[0], vmax=limits[1])
            axes.set_xticks([])
            axes.set_yticks([])
            if row == 0:
                axes.set_title(title, fontsize=8)
        panels[row][0].set_ylabel(task, fontsize=7)
    return figure


def observed(operator: inverse_problems.LinearOperator, y: np.ndarray) -> np.ndarray:
    """An observation as a picture: hidden pixels of a mask are NaN."""
    if operator.observed == operator.shape or len(operator.observed) == 2:
        return y
    picture = np.full(operator.shape, np.nan)
    picture.reshape(-1)[np.asarray(operator.matrix).argmax(axis=1)] = y
    return picture
