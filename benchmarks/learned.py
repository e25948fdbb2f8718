"""A learned model: what control buys on real digits, and what wrong scores cost.

First a class-conditional model of the digits, trained here from configs/digits.yaml: ESS, R and resamplings of the
published corrector beside control, 256 particles and 24 Heun steps, at equal calls. Then exact mixtures whose scores
are perturbed, s + δ‖s‖ times a fixed smooth unit field: how answers degrade with δ.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import fkdiff as fk
from benchmarks.common import arguments, golden, quadrature, save, table
from fkdiff.prediction import Prediction

STEPS, PARTICLES = 24, 256


def trained(quick: bool):
    """A run of configs/digits.yaml."""
    from fkdiff.train.config import load_config
    from fkdiff.train.run import load_run

    config = load_config("configs/digits.yaml")
    if quick:
        config = config.model_copy(update={"optim": config.optim.model_copy(update={"steps": 300})})
    folder = Path(tempfile.mkdtemp()) / "digits"
    fk.train.train(config, folder)
    return load_run(folder)


def digits(quick: bool) -> list[dict]:
    """Published corrector and control on the trained model."""
    run, rows, seeds = trained(quick), [], 1 if quick else 5
    targets = {
        "guidance 3 of class 3": fk.correctors.guidance(run.given(3), run.predictor, 3.0),
        "anneal 1.5 of class 3": fk.correctors.anneal(run.given(3), 1.5),
        "anneal 1.5 of all classes": fk.correctors.anneal(run.predictor, 1.5),
    }
    for name, target in targets.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fk.FkdiffWarning)
            plain = target.feynman_kac("euler", 1.0, control=False, gauge="published")
        models = {
            # A Heun step with one probe costs two evaluations and two jvps of each model.
            "published, Euler": (plain, 4 * STEPS),
            "gauge alone, Heun": (target.feynman_kac("heun", control=False), 2 * STEPS),
            "control, Heun": (target.feynman_kac("heun"), STEPS),
        }
        for method, (model, steps) in models.items():
            grid = fk.grid(steps, target.path)
            outs = [fk.run_smc(jax.random.key(s), model, grid, PARTICLES, safety=False) for s in range(seeds)]
            log_z = [float(out.log_normalizer) for out in outs]
            rows.append(
                {
                    "target": name,
                    "method": method,
                    "calls": int(outs[0].info.evaluations + outs[0].info.jvps),
                    "min ESS / N": float(np.mean([jnp.min(o.info.ess) / PARTICLES for o in outs])),
                    "resamplings": float(np.mean([o.info.resamplings for o in outs])),
                    "R": float(np.mean([o.info.R for o in outs])),
                    "ancestors": float(np.mean([len(np.unique(o.info.ancestors)) for o in outs])),
                    "log Z": float(np.mean(log_z)),
                    "log Z sd": float(np.std(log_z, ddof=1)) if seeds > 1 else 0.0,
                }
            )
            print(table(rows[-1:]).splitlines()[1], flush=True)
    return rows


class Perturbed(eqx.Module):
    """An exact rule with its score moved by δ‖s‖ w(x), w a smooth field of unit length."""

    exact: fk.Predictor
    delta: jax.Array

    def __call__(self, x, t, cond):
        right, path = self.exact(x, t), self.exact.path
        rates = path.rates(t)
        angle = 1.3 * x[0] + 0.7 + 2.0 * t
        field = jnp.sin(angle) * jnp.ones_like(x) if x.size == 1 else _unit(angle, x)
        score = right.score + self.delta * jnp.sqrt(jnp.sum(right.score**2) + 1e-12) * field
        noise = -rates.sigma * score
        clean = (x - rates.sigma * noise) / rates.alpha
        return Prediction(clean, noise, rates.alpha_dot * clean + rates.sigma_dot * noise, score)


def _unit(angle, x):
    return jnp.concatenate([jnp.cos(angle)[None], jnp.sin(angle)[None], jnp.zeros(x.size - 2)])


def perturbed(quick: bool) -> list[dict]:
    """Errors of the golden rows A², A⁻¹C² and AC under perturbed scores, with and without control."""
    count, seeds, rows = (512, 1, []) if quick else (4096, 4, [])
    path = fk.paths.variance_preserving()
    exact_rows = golden(path)
    a, c = (exact_rows["AC"].target.factors[i][1] for i in (0, 1))
    for delta in (0.0, 0.01, 0.05, 0.2):
        one, two = (fk.Predictor(path=path, rule=Perturbed(p, jnp.asarray(delta)), shape=p.shape) for p in (a, c))
        targets = {
            "A²": (fk.correctors.anneal(one, 2.0), quadrature((2.0, 0.0), None)),
            "A⁻¹C²": (fk.correctors.guidance(two, one, 2.0), quadrature((-1.0, 2.0), None)),
            "AC": (fk.correctors.product([one, two]), quadrature((1.0, 1.0), None)),
        }
        for name, (target, (mean, _, left, log_z)) in targets.items():
            for method, model, steps in (
                ("control, Heun", target.feynman_kac("heun"), 32),
                ("none, exponential ν=2", target.feynman_kac("exponential", 2.0, control=False), 64),
            ):
                outs = [
                    fk.run_smc(jax.random.key(s), model, fk.grid(steps, path), count, safety=False)
                    for s in range(seeds)
                ]
                weights = [jax.nn.softmax(o.log_weights) for o in outs]
                rows.append(
                    {
                        "target": name,
                        "δ": delta,
                        "method": method,
                        "log Z error": float(np.mean([o.log_normalizer for o in outs]) - log_z),
                        "mean error": float(
                            np.mean([w @ o.particles[:, 0] for w, o in zip(weights, outs, strict=True)]) - mean
                        ),
                        "P(x<0) error": float(
                            np.mean([w @ (o.particles[:, 0] < 0) for w, o in zip(weights, outs, strict=True)]) - left
                        ),
                        "min ESS / N": float(np.mean([jnp.min(o.info.ess) / count for o in outs])),
                        "R": float(np.mean([o.info.R for o in outs])),
                    }
                )
                print(table(rows[-1:]).splitlines()[1], flush=True)
    return rows


def draw(rows: list[dict], wrong: list[dict]) -> Figure:
    """Resamplings and surviving ancestors on the learned model, and errors against the size of a perturbation."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    targets, methods = (list(dict.fromkeys(row[k] for row in rows)) for k in ("target", "method"))
    for i, method in enumerate(methods):
        chosen = [row for row in rows if row["method"] == method]
        at = np.arange(len(targets)) + 0.25 * (i - 1)
        for axes, what in zip(panels, ("resamplings", "ancestors"), strict=False):
            axes.bar(at, [row[what] for row in chosen], width=0.25, label=method)
            axes.set_xticks(range(len(targets)), [t.replace(" of ", "\nof ") for t in targets], fontsize=8)
            axes.set_title(f"{what}, {PARTICLES} particles", fontsize=9)
    panels[0].legend(fontsize=7)
    for target in dict.fromkeys(row["target"] for row in wrong):
        for method, style in (("control, Heun", "o-"), ("none, exponential ν=2", "s:")):
            chosen = [row for row in wrong if (row["target"], row["method"]) == (target, method)]
            values = [abs(row["mean error"]) for row in chosen]
            panels[2].plot([row["δ"] for row in chosen], values, style, ms=3, label=f"{target}, {method}")
    panels[2].set_xscale("symlog", linthresh=0.01)
    panels[2].set_yscale("log")
    panels[2].set_xlabel("δ: relative size of the error of the score")
    panels[2].set_title("|error of the mean| under a wrong score", fontsize=9)
    panels[2].legend(fontsize=6)
    return figure


def main() -> None:
    args = arguments(__doc__)
    args.started = time.time()
    wrong = perturbed(args.quick)
    rows = digits(args.quick)
    print(table(rows))
    print(table(wrong))
    save(args, "learned", rows, draw(rows, wrong), num_particles=PARTICLES, steps=STEPS, perturbed_scores=wrong)


if __name__ == "__main__":
    main()
