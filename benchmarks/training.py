"""Training: quality against time for four objectives and three networks on digits, and what the loop costs.

Objectives share the network, the steps, the seed and the noise that the last time leaves, and differ in path, output,
weighting, times and coupling, each as its authors have it. Bits per dimension of whole grey levels and the Fréchet
distance in a judge's decision values stand at three marks, beside the floor of real digits.

The loop is timed against a bare one, written by hand around the same network, in CPU time over interleaved pairs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.common import arguments, save, table
from benchmarks.rival import paired
from fkdiff.core.keys import Use, seed_key, stream
from fkdiff.evaluate.distances import frechet
from fkdiff.evaluate.judge import digit_judge
from fkdiff.evaluate.quality import bits_of, sample_like
from fkdiff.train.build import build_model
from fkdiff.train.config import TrainConfig
from fkdiff.train.data import Batches, held_out, load_data
from fkdiff.train.run import LoadedRun
from fkdiff.train.step import init_state, make_optimizer, make_step

SHARED: dict[str, Any] = {
    "data": {"kind": "digits"},
    "model": {"kind": "mlp", "width": 384, "depth": 3},
    "optim": {"learning_rate": 1.5e-3, "steps": 4000, "batch_size": 128, "weight_decay": 2.0},
    "sampling": {"num_steps": 32},
}
ENDS = [-9, 4]
OBJECTIVES: dict[str, dict[str, Any]] = {
    "score matching": {"path": {"kind": "cosine", "log_snr": ENDS}, "objective": {"kind": "v", "weighting": "snr"}},
    "EDM": {
        "path": {"kind": "variance_exploding", "sigma_min": 0.1353, "sigma_max": 80},
        "objective": {"kind": "edm", "weighting": "edm", "times": {"kind": "log_normal", "mean": -0.4}},
    },
    "flow matching": {"path": {"kind": "linear", "log_snr": ENDS}, "objective": {"kind": "velocity"}},
    "OT flow matching": {
        "path": {"kind": "linear", "log_snr": ENDS},
        "objective": {"kind": "velocity", "coupling": "class_optimal_transport"},
    },
}
NETWORKS: dict[str, dict[str, Any]] = {
    "MLP": {"kind": "mlp", "width": 384, "depth": 3},
    "U-Net": {"kind": "unet", "channels": 24, "levels": 2},
    "DiT": {"kind": "dit", "patch": 2, "width": 96, "depth": 3, "heads": 4},
}


def config(changes: dict[str, Any], steps: int) -> TrainConfig:
    """The shared config with some sections changed."""
    data = {**SHARED, **changes}
    data["optim"] = {**SHARED["optim"], "steps": steps}
    return TrainConfig.model_validate(data)


def training_rows(name: str, chosen: TrainConfig, marks: list[int], num_likelihoods: int) -> list[dict]:
    """Trains once; the figures at every mark, with the seconds of training until there."""
    root = seed_key(chosen.seed)
    apply, params, form = build_model(chosen, stream(root, Use.INITIAL))
    optimizer = make_optimizer(chosen)
    state, step = init_state(params, optimizer), make_step(chosen, form, apply, optimizer)
    batches = Batches(load_data(chosen), stream(root, Use.DATA), chosen.optim.batch_size)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    # Compiled before the clock starts.
    jax.block_until_ready(step(init_state(jax.tree.map(jnp.copy, params), optimizer), batches.at(0), root))
    seconds, rows, began = 0.0, [], time.perf_counter()
    for k in range(chosen.optim.steps):
        state, measured = step(state, batches.at(k), root)
        if k + 1 in marks:
            jax.block_until_ready(measured["loss"])
            seconds += time.perf_counter() - began
            run = LoadedRun(apply, state.ema, form, chosen, k + 1, chosen.data.num_classes, "")
            found = judged(run, num_likelihoods)
            rows.append({"model": name, "parameters": size, "steps": k + 1, "seconds": seconds} | found)
            began = time.perf_counter()
    return rows


def judged(run: LoadedRun, num_likelihoods: int) -> dict[str, float]:
    """Bits per dimension of held-out digits, and the Fréchet distance of as many draws as are held out."""
    unseen = held_out(run.config)
    bits, error, _ = bits_of(jax.random.key(0), run, unseen, num_likelihoods, "hutchinson")
    draws = sample_like(jax.random.key(7), run, len(unseen.examples))
    features = digit_judge().classifier.decision_function
    distance = frechet(features(draws.reshape(-1, 64)), features(np.asarray(unseen.examples).reshape(-1, 64)))
    return {"bits/dim": bits, "bits error": error, "Fréchet": distance}


def floor(chosen: TrainConfig) -> float:
    """The Fréchet distance of as many training digits to those held out."""
    features, rng = digit_judge().classifier.decision_function, np.random.default_rng(0)
    unseen, training = np.asarray(held_out(chosen).examples), np.asarray(load_data(chosen).examples)
    subsets = [training[rng.choice(len(training), len(unseen), replace=False)] for _ in range(5)]
    return float(np.mean([frechet(features(subset), features(unseen)) for subset in subsets]))


def loop_row(num_steps: int, pairs: int) -> dict:
    """CPU seconds of our step, with its data order, averages and guards, and of a bare one."""
    chosen = config(OBJECTIVES["flow matching"], 4000)
    ours, bare = our_loop(chosen, num_steps), bare_loop(chosen, num_steps)
    found = paired(ours, bare, pairs)
    return {"steps": num_steps, "fkdiff cpu s": found[0], "bare cpu s": found[1], "ratio": found[0] / found[1]}


def our_loop(chosen: TrainConfig, num_steps: int) -> Callable[[], Any]:
    """What `train` does between two looks."""
    root = seed_key(0)
    apply, params, form = build_model(chosen, stream(root, Use.INITIAL))
    optimizer = make_optimizer(chosen)
    step = make_step(chosen, form, apply, optimizer)
    batches = Batches(load_data(chosen), stream(root, Use.DATA), chosen.optim.batch_size)

    def run() -> Any:
        state, losses = init_state(jax.tree.map(jnp.copy, params), optimizer), []
        for k in range(num_steps):
            state, measured = step(state, batches.at(k), root)
            if losses:
                losses[-1].block_until_ready()
            losses.append(measured["loss"])
        return jax.block_until_ready(state.params)

    return run


def bare_loop(chosen: TrainConfig, num_steps: int) -> Callable[[], Any]:
    """The same network, loss, optimiser and average, with nothing kept, checked or counted."""
    apply, params, form = build_model(chosen, jax.random.key(0))
    optimizer = make_optimizer(chosen)
    data = load_data(chosen)
    examples, labels = jnp.asarray(data.examples), jnp.asarray(data.labels)
    path, size = form.path, chosen.optim.batch_size

    @jax.jit
    def step(params, average, state, key):
        keys = jax.random.split(key, 4)
        rows = jax.random.randint(keys[0], (size,), 0, len(examples))
        clean, noise = examples[rows], jax.random.normal(keys[1], (size, 64))
        t = path.t_min + (path.t_max - path.t_min) * jax.random.uniform(keys[2], (size,))
        told = jnp.where(jax.random.bernoulli(keys[3], 0.1, (size,)), 10, labels[rows])
        rates = jax.vmap(path.rates)(t)
        alpha, sigma, alpha_dot, sigma_dot = (rate[:, None] for rate in rates)
        x, target = alpha * clean + sigma * noise, alpha_dot * clean + sigma_dot * noise

        def loss(params):
            out = jax.vmap(apply, (None, 0, 0, 0))(params, x, t, told)
            return jnp.mean((out - target) ** 2 / (alpha_dot**2 + sigma_dot**2))

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        average = jax.tree.map(lambda a, p: 0.999 * a + 0.001 * p, average, params)
        return params, average, state, value

    def run() -> Any:
        now, average, state = params, params, optimizer.init(params)
        for k in range(num_steps):
            now, average, state, _ = step(now, average, state, jax.random.fold_in(jax.random.key(1), k))
        return jax.block_until_ready(now)

    return run


def main() -> None:
    args = arguments(__doc__)
    args.started = time.time()
    marks, likelihoods = ([20, 40], 10) if args.quick else ([400, 1200, 4000], 200)
    rows = []
    for name, changes in OBJECTIVES.items():
        rows += training_rows(name, config(changes, marks[-1]), marks, likelihoods)
        print(table(rows[-len(marks) :]), flush=True)
    networks = []
    short = marks[:2]
    for name, section in NETWORKS.items():
        changes = {**OBJECTIVES["flow matching"], "model": section}
        networks += training_rows(name, config(changes, short[-1]), short, likelihoods)
        print(table(networks[-len(short) :]), flush=True)
    loop = loop_row(20 if args.quick else 200, 3 if args.quick else 20)
    print(table([loop]))
    facts = {"Fréchet floor": floor(config({}, 1)), "loop": loop, "networks": networks}
    save(args, "training", rows, draw(rows, facts["Fréchet floor"]), **facts)


def draw(rows: list[dict], real: float) -> Figure:
    """Both figures against the seconds of training."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for panel, key in zip(figure.subplots(1, 2), ("bits/dim", "Fréchet"), strict=True):
        for name in dict.fromkeys(row["model"] for row in rows):
            chosen = [row for row in rows if row["model"] == name]
            panel.plot([r["seconds"] for r in chosen], [r[key] for r in chosen], "o-", ms=4, label=name)
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_xlabel("seconds of training")
        panel.set_ylabel({"bits/dim": "bits per dimension", "Fréchet": "Fréchet distance"}[key])
        if key == "Fréchet":
            panel.axhline(real, color="0.5", lw=1, ls="--", label="real digits")
            panel.set_ylim(bottom=0)
    figure.axes[1].legend(fontsize=8, loc="lower left")
    return figure


if __name__ == "__main__":
    main()
