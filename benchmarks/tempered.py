"""SMC samplers beside blackjax's tempered SMC: cost at equal error, and three hard targets.

Cost: the same temperatures, step size and leapfrogs, 10,000 particles, each library resampling in its own way
(systematic; here when the ESS falls below one half, there at every step). The ratio is of minimal CPU times over
interleaved pairs, and quality stands beside it.

Targets: the funnel in ten dimensions from N(0, I), ManyWell-32, and the masses of the forty modes of GMM40 beside the
multinomial floor.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

import fkdiff as fk
from benchmarks.common import arguments, save, table
from benchmarks.rival import cpu_seconds, library, paired
from fkdiff import diagnostics, mcmc, smc

COUNT = 10_000
LINEAR = jnp.linspace(0.0, 1.0, 65)


class Problem(NamedTuple):
    """A prior that can be drawn, and what leads from it to the target."""

    log_prior: Callable
    log_likelihood: Callable
    sample_prior: Callable
    dim: int
    log_z: float


def from_normal(log_target: Callable, dim: int, sd: float, log_z: float) -> Problem:
    """From N(0, sd² I)."""
    constant = dim * (0.5 * np.log(2 * np.pi) + np.log(sd))

    def log_prior(x):
        return -0.5 * jnp.sum(x**2) / sd**2 - constant

    return Problem(
        log_prior,
        lambda x: log_target(x) - log_prior(x),
        lambda key: sd * jax.random.normal(key, (dim,)),
        dim,
        log_z,
    )


def problems() -> dict[str, Problem]:
    well = fk.targets.many_well(16)
    return {
        "funnel-10": from_normal(fk.targets.funnel(10).log_prob, 10, 1.0, 0.0),
        "GMM40": from_normal(fk.targets.gmm40().log_prob, 2, 30.0, 0.0),
        "ManyWell-32": from_normal(well.log_density, 32, 1.5, well.log_normalizer),
    }


def ours(problem: Problem, move: Callable, grid: jax.Array, count: int, **options):
    """(log Ẑ, particles, log-weights) of a key."""
    model = smc.tempering(problem.log_prior, problem.log_likelihood, problem.sample_prior, move, **options)

    def run(key):
        out = fk.run_smc(key, model, grid, count)
        return out.log_normalizer, out.particles, out.log_weights

    return jax.jit(run)


def theirs(problem: Problem, step_size: float, num_steps: int, grid: jax.Array, count: int):
    """The same of blackjax, whose particles have equal weights after each resampling."""
    blackjax = library("blackjax")
    resample = library("blackjax.smc.resampling").systematic
    parameters = {
        "step_size": jnp.array([step_size]),
        "inverse_mass_matrix": jnp.ones((1, problem.dim)),
        "num_integration_steps": jnp.array([num_steps]),
    }
    algorithm = blackjax.tempered_smc(
        problem.log_prior,
        problem.log_likelihood,
        blackjax.hmc.build_kernel(),
        blackjax.hmc.init,
        parameters,
        resample,
        num_mcmc_steps=1,
    )

    def run(key):
        first, rest = jax.random.split(key)
        draws = jax.vmap(problem.sample_prior)(jax.random.split(first, count))

        def body(state, step):
            state, info = algorithm.step(step[0], state, step[1])
            return state, info.log_likelihood_increment

        keys = jax.random.split(rest, grid.shape[0] - 1)
        state, gains = jax.lax.scan(body, algorithm.init(draws), (keys, grid[1:]))
        return gains.sum(), state.particles, jnp.log(state.weights)

    return jax.jit(run)


def errors(run, problem: Problem, repeats: int) -> dict[str, float]:
    """Bias, standard deviation and root mean square of log Ẑ − log Z over seeds."""
    found = np.array([float(run(jax.random.key(100 + seed))[0]) for seed in range(repeats)]) - problem.log_z
    return {
        "bias": float(found.mean()),
        "sd": float(found.std(ddof=1)),
        "rmse": float(np.sqrt(np.mean(found**2))),
        "rmse error": float(np.std(found**2, ddof=1) / np.sqrt(repeats) / 2 / np.sqrt(np.mean(found**2))),
    }


def timed(mine, other, pairs: int) -> tuple[float, float]:
    """Minimal CPU seconds of both."""
    key = jax.random.key(1)
    return paired(lambda: mine(key), lambda: other(key), pairs)


def cost_rows(quick: bool) -> list[dict]:
    """Equal settings in both libraries."""
    count, pairs, repeats = (1000, 2, 3) if quick else (COUNT, 20, 20)
    rows = []
    for name, step_size in (("funnel-10", 0.3), ("GMM40", 1.0)):
        for num_steps in (1, 10):
            problem = problems()[name]
            mine = ours(problem, lambda f, h=step_size, n=num_steps: mcmc.hmc(f, h, n), LINEAR, count)
            other = theirs(problem, step_size, num_steps, LINEAR, count)
            mine_s, other_s = timed(mine, other, pairs)
            for library_name, run, seconds in (("fkdiff", mine, mine_s), ("blackjax", other, other_s)):
                row = {"problem": name, "leapfrogs": num_steps, "library": library_name, "cpu s": seconds}
                rows.append(row | {"ratio": mine_s / other_s} | errors(run, problem, repeats))
                print(table(rows[-1:]), flush=True)
    return rows


def funnel_moves(f):
    """Two step sizes, for the neck and for the mouth."""
    return mcmc.alternate(mcmc.hmc(f, 0.1, 10), mcmc.hmc(f, 0.5, 10))


def hard_rows(quick: bool) -> list[dict]:
    """Three targets, with settings of our own."""
    count, repeats = (1000, 3) if quick else (COUNT, 20)
    every = problems()
    funnel = every["funnel-10"]
    late = 1 - (1 - jnp.linspace(0.0, 1.0, 57)) ** 2.5  # the mouth gains its mass as the temperature arrives
    mine, other = ours(funnel, funnel_moves, late, count), theirs(funnel, 0.3, 10, LINEAR, count)
    mine_s, other_s = timed(mine, other, 2 if quick else 20)
    key = jax.random.key(1)
    first = {"problem": "funnel-10, two steps", "cpu s": mine_s, "ratio": mine_s / other_s}
    rows = [first | errors(mine, funnel, repeats)]
    settings = {
        "ManyWell-32": (smc.tuned(lambda f, h, mass: mcmc.hmc(f, h, 5, mass)), LINEAR),
        "GMM40": (lambda f: mcmc.hmc(f, 1.0, 10), LINEAR),
    }
    for name, (move, grid) in settings.items():
        run = ours(every[name], move, grid, count)
        run(key)
        seconds = min(cpu_seconds(lambda run=run: run(key)) for _ in range(3))
        rows.append({"problem": name, "cpu s": seconds} | errors(run, every[name], repeats))
    rows[-1] |= modes(run, repeats)
    print(table(rows, ["problem", "cpu s", "ratio", "bias", "sd", "rmse", "mode TV", "floor"]), flush=True)
    return rows


def modes(run, repeats: int) -> dict[str, float]:
    """Total variation of the masses of the forty modes, beside its floor."""
    target = fk.targets.gmm40()
    exact = target.sample(jax.random.key(9), 10**6)  # cells cut tails off, so that they hold not quite 1/40 each
    truth = diagnostics.mode_masses(diagnostics.nearest(exact, target.means), 40)
    found = []
    for seed in range(repeats):
        _, particles, log_weights = run(jax.random.key(200 + seed))
        owner = diagnostics.nearest(particles, target.means)
        masses = diagnostics.mode_masses(owner, 40, jax.nn.softmax(log_weights))
        found.append(diagnostics.mode_error(masses, truth, len(particles)))
    return {"mode TV": float(np.mean([e.value for e in found])), "floor": found[0].floor}


def main() -> None:
    args = arguments(__doc__)
    args.started = time.time()
    costs, hard = cost_rows(args.quick), hard_rows(args.quick)
    save(args, "tempered", costs, draw(costs), particles=1000 if args.quick else COUNT, targets=hard)


def draw(rows: list[dict]) -> Figure:
    """Error against cost, both libraries joined for each problem."""
    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    axes = figure.subplots()
    colours = {"fkdiff": "#1f6f8b", "blackjax": "#c0692f"}
    for library_name, colour in colours.items():
        chosen = [row for row in rows if row["library"] == library_name]
        label = library_name
        axes.plot([r["cpu s"] for r in chosen], [r["rmse"] for r in chosen], "o", ms=6, color=colour, label=label)
    for a, b in zip(rows[::2], rows[1::2], strict=True):
        axes.plot([a["cpu s"], b["cpu s"]], [a["rmse"], b["rmse"]], "-", lw=0.8, color="0.6", zorder=0)
        place = {"xytext": (-6, -3), "textcoords": "offset points", "ha": "right", "va": "center"}
        axes.annotate(f"{a['problem']}, {a['leapfrogs']}", (a["cpu s"], a["rmse"]), fontsize=7, **place)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(0.2, 0.1)
    axes.set_xlabel("CPU seconds of one run")
    axes.set_ylabel("root mean square error of log Z")
    axes.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    main()
