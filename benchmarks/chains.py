"""Markov chains beside blackjax and numpyro: steps per CPU second, and effective draws per CPU second.

Steps: 1,000 chains in 100 dimensions, a diagonal and a dense Gaussian, with the same density, step size, mass and
trajectory in both libraries; million chain-steps per CPU second, and the ratio over interleaved pairs. The dense one is
there twice: as a quadratic form that is differentiated, and with the one product that its symmetry leaves.

Draws: posteriors of real data (logistic regression on breast-cancer data, eight schools). Ours: 64 chains of HMC with
jittered length, after dual averaging of the step size and a mass from the population. Beside it NUTS of blackjax after
its window adaptation, by itself and through `fkdiff.interop.from_blackjax`, and NUTS of numpyro, 4 chains each.
Warm-up is in the time, compilation is not; the least bulk ESS of any coordinate counts, by the same code for all.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import fkdiff as fk
from benchmarks.common import arguments, save, table
from benchmarks.rival import cpu_seconds, library, paired
from fkdiff import diagnostics, mcmc

DIM, CHAINS = 100, 1000


def gaussians() -> dict[str, Callable]:
    """Log-densities of ONE position, with variances between 1/4 and 4."""
    rng = np.random.default_rng(0)
    scales = jnp.asarray(np.exp(rng.uniform(np.log(0.25), np.log(4.0), DIM)), jnp.float32)
    basis = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    precision = jnp.asarray(basis @ np.diag(1 / np.asarray(scales, np.float64)) @ basis.T, jnp.float32)

    @jax.custom_jvp
    def symmetric(x):
        return -0.5 * jnp.vdot(x, precision @ x)

    @symmetric.defjvp
    def _(primals, tangents):  # P is symmetric, which no automatic derivative knows: one product for value and gradient
        (x,), (u,) = primals, tangents
        product = precision @ x
        return -0.5 * jnp.vdot(x, product), -jnp.vdot(product, u)

    return {
        "diagonal": lambda x: -0.5 * jnp.sum(x**2 / scales),
        "dense": lambda x: -0.5 * x @ precision @ x,
        "dense, symmetric": symmetric,
    }


def pair(method: str, target: Callable, num_steps: int):
    """The same kernel of both libraries, as functions of a key that return the last positions."""
    blackjax = library("blackjax")
    if method == "mala":
        kernel, algorithm = mcmc.mala(target, 0.02), blackjax.mala(target, 0.02)
    else:
        kernel = mcmc.hmc(target, 0.1, 10)
        algorithm = blackjax.hmc(target, 0.1, jnp.ones(DIM), 10)
    start = jax.random.normal(jax.random.key(0), (CHAINS, DIM))

    def mine(key):
        return fk.run_chain(key, kernel, start, num_steps, num_chains=CHAINS).position

    @jax.jit
    def other(key):
        def body(state, step_key):
            keys = jax.random.split(step_key, CHAINS)
            return jax.vmap(algorithm.step)(keys, state)[0], None

        return jax.lax.scan(body, jax.vmap(algorithm.init)(start), jax.random.split(key, num_steps))[0].position

    return mine, other


def speed_rows(quick: bool) -> list[dict]:
    """Steps per CPU second."""
    num_steps, pairs = (20, 2) if quick else (200, 20)
    rows = []
    for method, name in [(method, name) for method in ("mala", "hmc") for name in gaussians()]:
        mine, other = pair(method, gaussians()[name], num_steps)
        key = jax.random.key(1)
        seconds = paired(lambda run=mine, key=key: run(key), lambda run=other, key=key: run(key), pairs)
        rate = [CHAINS * num_steps / s / 1e6 for s in seconds]
        row = {"method": method, "target": name, "fkdiff": rate[0], "blackjax": rate[1]}
        rows.append(row | {"ratio": rate[0] / rate[1]})
    print(table(rows), flush=True)
    return rows


def posteriors() -> dict:
    return {"logistic regression": fk.targets.logistic_regression(), "eight schools": fk.targets.eight_schools()}


def starts(target, key, chains: int):
    """Draws of the prior, shrunk to where densities are tame: the same for all methods."""
    return 0.1 * jax.vmap(target.sample_prior)(jax.random.split(key, chains))


def position(state, info):
    return state.position


def by_hmc(target, num_steps: int, leapfrogs: int = 6, chains: int = 64):
    """Two rounds of step size and of a mass from the population, then HMC with jittered length."""

    def run(key):
        keys = jax.random.split(key, 6)
        x = starts(target, keys[0], chains)
        mass, step = jnp.ones(target.dim), None
        for number in range(3):
            make = lambda h, mass=mass: mcmc.hmc(target.log_density, h, leapfrogs, mass, jitter=0.5)  # noqa: E731
            found = mcmc.dual_averaging(keys[1 + number], make, x, num_steps=75, initial=step, num_chains=chains)
            x, step = found.position, found.step_size
            if number < 2:
                mass = mcmc.mass_from_population(x, jnp.zeros(chains))
        kernel = mcmc.hmc(target.log_density, step, leapfrogs, mass, jitter=0.5)
        return fk.run_chain(keys[5], kernel, x, num_steps, collect=position, num_chains=chains).collected

    return jax.jit(run)


def by_blackjax(target, num_steps: int, ours: bool, chains: int = 4):
    """NUTS after 500 steps of window adaptation, by blackjax's own loop or by `run_chain`."""
    blackjax = library("blackjax")

    def one(key, x):
        first, second = jax.random.split(key)
        warm = blackjax.window_adaptation(blackjax.nuts, target.log_density)
        (state, parameters), _ = warm.run(first, x, num_steps=500)
        algorithm = blackjax.nuts(target.log_density, **parameters)
        if ours:
            kernel = fk.interop.from_blackjax(algorithm)
            return fk.run_chain(second, kernel, state.position, num_steps, collect=position).collected

        def body(state, step_key):
            state, _ = algorithm.step(step_key, state)
            return state, state.position

        return jax.lax.scan(body, state, jax.random.split(second, num_steps))[1]

    def run(key):
        keys = jax.random.split(key, chains + 1)
        return jnp.swapaxes(jax.vmap(one)(keys[1:], starts(target, keys[0], chains)), 0, 1)

    return jax.jit(run)


def by_numpyro(target, num_steps: int, chains: int = 4):
    """NUTS after 500 steps of warm-up, compiled as a whole (its own `.run()` compiles at every call)."""
    infer = library("numpyro.infer")

    def run(key):
        keys = jax.random.split(key)
        kernel = infer.NUTS(potential_fn=lambda x: -target.log_density(x))
        loop = infer.MCMC(
            kernel,
            num_warmup=500,
            num_samples=num_steps,
            num_chains=chains,
            chain_method="vectorized",
            progress_bar=False,
        )
        loop.run(keys[0], init_params=starts(target, keys[1], chains))
        return jnp.swapaxes(loop.get_samples(group_by_chain=True), 0, 1)

    return jax.jit(run)


def draw_rows(quick: bool) -> list[dict]:
    """Least bulk ESS of a coordinate per CPU second, warm-up included, compilation not."""
    steps, repeats = (100, 1) if quick else (1000, 5)
    rows = []
    for name, target in posteriors().items():
        methods = {
            "fkdiff HMC, 64 chains": by_hmc(target, steps // 4),
            "blackjax NUTS by run_chain": by_blackjax(target, steps, True),
            "blackjax NUTS": by_blackjax(target, steps, False),
            "numpyro NUTS": by_numpyro(target, steps),
        }
        for method, run in methods.items():
            jax.block_until_ready(run(jax.random.key(0)))
            kept = {}
            seconds = min(
                cpu_seconds(lambda run=run, seed=seed, kept=kept: kept.setdefault(seed, run(jax.random.key(1 + seed))))
                for seed in range(repeats)
            )
            summaries = [diagnostics.summary(draws) for draws in kept.values()]
            ess = np.median([np.min(summary.bulk_ess) for summary in summaries])
            tail = np.median([np.min(summary.tail_ess) for summary in summaries])
            worst = max(float(np.max(summary.rhat)) for summary in summaries)
            row = {"posterior": name, "method": method, "cpu s": seconds, "bulk ESS": ess, "tail ESS": tail}
            rows.append(row | {"ESS per s": ess / seconds, "worst R̂": worst})
            print(table(rows[-1:]), flush=True)
    return rows


def main() -> None:
    args = arguments(__doc__)
    args.started = time.time()
    speeds, draws = speed_rows(args.quick), draw_rows(args.quick)
    save(args, "chains", speeds, figure_of(speeds, draws), draws=draws)


def figure_of(speeds: list[dict], draws: list[dict]) -> Figure:
    """Steps per second of both libraries, and effective draws per second of all methods."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    places = np.arange(len(speeds))
    for shift, name, colour in ((-0.2, "fkdiff", "#1f6f8b"), (0.2, "blackjax", "#c0692f")):
        left.bar(places + shift, [row[name] for row in speeds], 0.4, label=name, color=colour)
    names = [f"{row['method']}\n{row['target'].replace(', ', chr(10))}" for row in speeds]
    left.set_xticks(places, names, fontsize=8)
    left.set_ylabel("million chain-steps per CPU second")
    left.legend(fontsize=8)
    labels = [f"{row['method']}\n{row['posterior']}" for row in draws]
    right.barh(np.arange(len(draws)), [row["ESS per s"] for row in draws], color="#1f6f8b")
    right.set_yticks(np.arange(len(draws)), labels, fontsize=6)
    right.invert_yaxis()
    right.set_xscale("log")
    right.set_xlabel("least bulk ESS per CPU second")
    return figure


if __name__ == "__main__":
    main()
