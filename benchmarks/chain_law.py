"""How far is the law of a stochastic solver's chain from the model's, at equal calls? What `steer` weighs is that law.

    python -m benchmarks.chain_law              committed
    python -m benchmarks.chain_law --resume     keeps the rows of digits that the results file holds

A chain of K steps makes K + 1 evaluations and as many looks at the Jacobian, as `run_smc` counts them; a call is an
evaluation or a jvp. The answers are log Z of e^{r}, and moments. Nothing is sampled on the first three models:

    gaussian    N(0, 1), whose steps are affine: the law of the chain is a recursion of mean and variance
    ridge       N(0, diag(0.01, 3)), likewise
    mixture     the README's, r = −¾(x − 1)², by backward quadrature

Their truth is the model's law at t_max. On a small model of digits trained here plain draws of the chain are held
against draws of the same chain at 1,024 steps: log Z of a budget of ink, and the variances along the widest and the
narrowest sixteen principal directions.
"""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from scipy.interpolate import CubicSpline

import fkdiff as fk
from benchmarks.common import A, arguments, folder, hill, log_mixture, noised, save, table
from fkdiff.solvers import Solver
from fkdiff.train import load_config, load_run
from fkdiff.train.config.data import DIGIT_MEAN, DIGIT_SCALE
from fkdiff.train.data import load_data
from fkdiff.train.loop import train

PATH = fk.paths.variance_preserving()
CALLS = (8, 16, 32, 64, 128)
SOLVERS: dict[str, Callable[[tuple], Solver]] = {  # of the data's mean and variance
    "euler, ν = 1": lambda data: fk.solvers.euler(noise=1.0),
    "heun, ν = 1": lambda data: fk.solvers.heun(noise=1.0),
    "exponential, ν = 1": lambda data: fk.solvers.exponential(1.0),
    "exponential, ν = 1, data's ς²": lambda data: fk.solvers.exponential(1.0, data),
    "ddim, η = 1": lambda data: fk.solvers.ddim(eta=1.0),
    "ancestral, ς² = 1": lambda data: fk.solvers.ancestral("reference"),
    "ancestral, data's ς²": lambda data: fk.solvers.ancestral("reference", data),
    "ancestral, model": lambda data: fk.solvers.ancestral("model"),
    "ancestral, diagonal": lambda data: fk.solvers.ancestral("diagonal"),
}


def steps_of(solver: Solver, shape: tuple[int, ...], calls: int) -> int:
    """The steps that a chain may take."""
    return calls // (solver.evaluations + solver.jvps(shape)) - 1


def each(shape: tuple[int, ...], data: tuple):
    """Every solver at every number of calls that allows two steps."""
    for (label, make), calls in itertools.product(SOLVERS.items(), CALLS):
        solver = make(data)
        if (steps := steps_of(solver, shape, calls)) >= 2:
            yield {"solver": label, "calls": calls, "steps": steps}, solver, fk.grid(steps, PATH)


# Gaussian data ------------------------------------------------------------------------------------------------


@eqx.filter_jit
def affine(pred, solver: Solver, t0, t1):
    """Slope, offset and scale of a step that is affine."""
    step = lambda x: solver.step(pred, solver.init(pred, x, t0), t0, t1)[0]  # noqa: E731
    origin = jnp.zeros(pred.shape)
    return jax.jacfwd(lambda x: step(x).mean)(origin), step(origin).mean, step(origin).scale


def gaussian_rows(name: str, variance: np.ndarray) -> list[dict]:
    """N(0, diag(variance)), tilted by −¾|x − 1|²."""
    size, rows = len(variance), []
    pred = fk.targets.gaussian(np.zeros(size), np.diag(variance)).predictor(PATH)

    def start(t):
        return float(PATH.alpha(t)) ** 2 * variance + float(PATH.sigma(t)) ** 2

    def log_z(mean, spread):
        wide = spread + np.eye(size) / 1.5
        gap = mean - 1.0
        return -0.5 * (gap @ np.linalg.solve(wide, gap) + np.linalg.slogdet(1.5 * wide)[1])

    exact = start(PATH.t_max)
    truth = log_z(np.zeros(size), np.diag(exact))
    for row, solver, times in each((size,), (0.0, jnp.asarray(variance, jnp.float32) if size > 1 else variance[0])):
        mean, spread = np.zeros(size), np.diag(start(times[0]))
        for t0, t1 in itertools.pairwise(times):
            slope, offset, scale = (np.asarray(a, np.float64) for a in affine(pred, solver, t0, t1))
            mean = slope @ mean + offset
            spread = slope @ spread @ slope.T + np.diag(np.broadcast_to(scale, size) ** 2)
        ratios = np.diag(spread) / exact
        rows.append({"model": name, **row, "log Z": log_z(mean, spread) - truth, "variance": (ratios - 1).tolist()})
    return rows


# The mixture --------------------------------------------------------------------------------------------------


@eqx.filter_jit
def transitions(pred, solver: Solver, positions, t0, t1):
    """Mean and scale of the steps from many positions."""

    def one(x):
        transition, _ = solver.step(pred, solver.init(pred, x[None], t0), t0, t1)
        return transition.mean[0], transition.scale.reshape(())

    return jax.vmap(one)(positions)


def mixture_rows() -> list[dict]:
    """E e^r, E x, E x² at the end of a chain, carried backwards: h_k(x) = E h_{k+1}(mean + scale ξ)."""
    pred, width, rows = fk.targets.gaussian_mixture(*A).predictor(PATH), 9.0, []
    grid = np.linspace(-width, width, 4001)
    nodes, shares = np.polynomial.hermite_e.hermegauss(60)
    shares = shares / shares.sum()
    answers = np.stack([np.exp(np.asarray(hill(grid[None]))), grid, grid**2], axis=1)
    fine = np.linspace(-14, 14, 200_001)
    density = np.exp(log_mixture(noised(A, float(PATH.alpha(PATH.t_max)), float(PATH.sigma(PATH.t_max))), fine))
    z, first, second = (np.trapezoid(density * f, fine) for f in (np.exp(hill(fine[None])), fine, fine**2))
    data = (float(first), float(second - first**2))
    for row, solver, times in each((1,), data):
        values = answers
        for t0, t1 in zip(times[-2::-1], times[:0:-1], strict=True):
            found = transitions(pred, solver, jnp.asarray(grid, jnp.float32), t0, t1)
            mean, scale = (np.asarray(a, np.float64) for a in found)
            ends = np.clip(mean[:, None] + scale[:, None] * nodes, -width, width)
            values = np.einsum("inf,n->if", CubicSpline(grid, values)(ends), shares)
        alpha, sigma = float(PATH.alpha(times[0])), float(PATH.sigma(times[0]))
        begun = alpha * data[0] + np.sqrt(alpha**2 * data[1] + sigma**2) * nodes
        reached = shares @ CubicSpline(grid, values)(begun)
        spread = (reached[2] - reached[1] ** 2) / data[1] - 1
        biases = {"log Z": np.log(reached[0] / z), "mean": reached[1] - data[0], "variance": [float(spread)]}
        rows.append({"model": "mixture", **row, **biases})
    return rows


# Digits -------------------------------------------------------------------------------------------------------

DIGITS = (
    "ddim, η = 1",
    "ancestral, ς² = 1",
    "ancestral, data's ς²",  # one for each pixel
    "ancestral, model",
    "ancestral, diagonal",
    "exponential, ν = 1",
)


def digits_model(steps: int):
    """A model of all digits, and the mean and variance of each pixel of its data."""
    config = load_config("configs/digits.yaml")
    config = config.model_copy(update={"optim": config.optim.model_copy(update={"steps": steps})})
    with tempfile.TemporaryDirectory() as where:
        train(config, Path(where) / "digits", picture=False)
        pred = load_run(Path(where) / "digits").predictor
    examples = np.asarray(load_data(config).examples)
    return pred, (examples.mean(axis=0), examples.var(axis=0))


def summary(draws: np.ndarray, axes: np.ndarray | None) -> tuple[dict, np.ndarray]:
    """log Z of the ink, its error, and variances along given directions (or their own principal ones)."""
    amount, width = (16 * 0.4 - DIGIT_MEAN) / DIGIT_SCALE, 16 / DIGIT_SCALE  # of a mean grey level of 0.4, in [0, 1]
    reward = fk.steering.ink_budget(jnp.asarray(amount), width)
    r = 100.0 * np.asarray(jax.vmap(reward)(jnp.asarray(draws)), np.float64)
    w = np.exp(r)
    covariance = np.cov(draws.T.astype(np.float64))
    axes = np.linalg.eigh(covariance)[1] if axes is None else axes
    along = np.einsum("da,de,ea->a", axes, covariance, axes)
    found = {"value": np.log(w.mean()), "error": w.std() / w.mean() / np.sqrt(len(w)), "along": along.tolist()}
    return found, axes


def digit_rows(args, train_steps: int, fine: int, num: int, calls: tuple[int, ...]) -> list[dict]:
    """Each chain against itself at `fine` steps, on half as many draws."""
    file = folder(args) / "chain_law.json"
    kept = json.loads(file.read_text())["rows"] if args.resume and file.exists() else []
    kept = [r for r in kept if r["model"] == "digits"]
    trained, rows = None, []
    for label in DIGITS:
        done = [r for r in kept if r["solver"] == label]
        if len(done) == len(calls):
            rows += done
            continue
        trained = trained or digits_model(train_steps)
        pred, solver = trained[0], SOLVERS[label](trained[1])

        def drawn(steps, count, seed, pred=pred, solver=solver):
            start = time.perf_counter()
            draws = fk.integrate(jax.random.key(seed), pred, solver, fk.grid(steps, pred.path), count)
            return np.asarray(draws), time.perf_counter() - start

        truth, axes = summary(drawn(fine, num // 2, 0)[0], None)
        along = np.asarray(truth["along"])
        for seed, budget in enumerate(calls, 1):
            steps = steps_of(solver, pred.shape, budget)
            draws, seconds = drawn(steps, num, seed)
            found, _ = summary(draws, axes)
            share = np.asarray(found["along"]) / along - 1
            rows.append({
                "model": "digits", "solver": label, "calls": budget, "steps": steps,
                "log Z": found["value"] - truth["value"],
                "log Z error": float(np.hypot(found["error"], truth["error"])),
                "variance": [float(share[-16:].mean()), float(share[:16].mean())], "seconds": seconds,
            })  # fmt: skip
        print(table(rows[-len(calls) :]), flush=True)
        later = [r for r in kept if r["solver"] not in {done["solver"] for done in rows}]
        save(args, "chain_law", [*args.known, *rows, *later])  # what there is, for --resume
    return rows


def main() -> None:
    resume = lambda parser: parser.add_argument("--resume", action="store_true", help="keep the rows of digits")  # noqa: E731
    args = arguments(__doc__, resume)
    args.started = time.time()
    rows = gaussian_rows("gaussian", np.array([1.0])) + gaussian_rows("ridge", np.array([0.01, 3.0])) + mixture_rows()
    print(table(rows, ["model", "solver", "calls", "steps", "log Z", "mean", "variance"]), flush=True)
    args.known = rows
    sizes = (50, 16, 256, (8, 16)) if args.quick else (1500, 1024, 2048, (16, 32, 64))
    rows = rows + digit_rows(args, *sizes)
    save(args, "chain_law", rows, draw(rows), digits={"fine_steps": sizes[1], "draws": sizes[2]})


def draw(rows: list[dict]) -> Figure:
    """|bias of log Z| above, the worst |bias of a variance| below, against calls."""
    models = list(dict.fromkeys(r["model"] for r in rows))
    figure = Figure(figsize=(3.1 * len(models), 6.0), layout="constrained")
    panels = figure.subplots(2, len(models))
    for column, model in enumerate(models):
        for number, label in enumerate(SOLVERS):
            chosen = [r for r in rows if r["model"] == model and r["solver"] == label]
            if not chosen:
                continue
            calls, style = [r["calls"] for r in chosen], "o-" if label.startswith("ancestral") else "s--"
            for panel, values in zip(
                panels[:, column],
                ([abs(r["log Z"]) for r in chosen], [np.abs(r["variance"]).max() for r in chosen]),
                strict=True,
            ):
                panel.plot(calls, np.maximum(values, 1e-6), style, color=f"C{number}", ms=3, lw=1, label=label)
        if errors := [r["log Z error"] for r in rows if r["model"] == model and "log Z error" in r]:
            panels[0, column].axhline(max(errors), color="0.5", lw=1, ls=":", label="one standard error")
        panels[0, column].set_title(model, fontsize=9)
        for panel in panels[:, column]:
            panel.set_xscale("log", base=2)
            panel.set_yscale("log")
            panel.set_xticks(CALLS, [str(c) for c in CALLS])
        panels[1, column].set_xlabel("calls per draw (evaluations + jvps)")
    panels[0, 0].set_ylabel("|bias of log Z|, nats (exact: 1e-6)")
    panels[1, 0].set_ylabel("largest |relative bias of a variance|")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=6, ncols=5, loc="outside lower center")
    return figure


if __name__ == "__main__":
    main()
