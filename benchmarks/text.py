"""Text steered by a word list: reward, and likelihood under a model that nobody trained on it, at equal calls.

A character model of Python's language reference (trained here, or given by --run), revealed one character at a time.
For k = 1, 2, 4, 8 particles, one draw out of each population of k: its word score log((known + ½)/(words + 1)), and its
negative log-likelihood under a 5-gram model of the corpus' reference part, in nats per character. Beside it the best of
k unsteered texts at the same calls; k = 1 is the unsteered model.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import fkdiff as fk
from benchmarks.common import arguments, save, table
from fkdiff.evaluate._ngram import pydoc_ngram
from fkdiff.evaluate.words import pydoc_word_share
from fkdiff.train.text import MASK, decode

STRENGTH = 8.0


def main() -> None:
    args = arguments(__doc__, lambda parser: parser.add_argument("--run", type=Path, help="a trained text run"))
    args.started = time.time()
    loaded = fk.train.load_run(args.run) if args.run else trained(args.quick)
    length, texts = loaded.config.data.length, 8 if args.quick else 64
    pred = fk.discrete.denoiser(fk.discrete.masked(MASK), loaded.apply, loaded.params, length)
    reward, judge = pydoc_word_share(), pydoc_ngram()
    grid, rows, examples = jnp.linspace(0.0, 1.0, length + 1), [], {}
    model = fk.steer(pred, fk.discrete.unmask("random"), reward, strength=STRENGTH, estimate=fk.steering.clean_draws(4))
    for k in (1, 2, 4, 8):
        plain = np.asarray(plain_texts(pred, grid, texts * k)).reshape(texts, k, length)
        scores = np.asarray(jax.lax.map(jax.vmap(reward), jnp.asarray(plain)))
        best = plain[np.arange(texts), scores.argmax(axis=1)]
        rows.append(row("best of k", k, best, reward, judge, k * length))
        if k > 1:
            # Resampling whenever the weights differ: with few particles ESS < N/2 hardly ever happens.
            always = fk.smc.adaptive(fk.smc.systematic, 0.9)
            many = fk.replicate(jax.random.key(k), texts, model, grid, k, resample=always)
            picks = jax.random.categorical(jax.random.key(100 + k), many.runs.log_weights)
            steered = np.asarray(many.runs.particles)[np.arange(texts), np.asarray(picks)]
            rows.append(row("steered", k, steered, reward, judge, k * (length + 1)))
            examples[f"steered, k = {k}"] = decode(steered[0])
        else:
            examples["unsteered"] = decode(best[0])
        print(table(rows[-1:]).splitlines()[1], flush=True)
    print(table(rows))
    for name, text in examples.items():
        print(f"{name:>16}: {text!r}")
    metrics = {"held_out_nats_per_character": loaded_score(loaded), "texts": texts, "strength": STRENGTH}
    save(args, "text", rows, draw(rows), examples=examples, **metrics)


def trained(quick: bool):
    """A run of configs/pydoc_chars.yaml in a temporary folder; `quick` trains for a moment."""
    config = fk.train.load_config("configs/pydoc_chars.yaml")
    if quick:
        config = config.model_copy(update={"optim": config.optim.model_copy(update={"steps": 60})})
    folder = Path(tempfile.mkdtemp()) / "text"
    fk.train.train(config, folder, picture=False)
    return fk.train.load_run(folder)


def loaded_score(loaded) -> float:
    """The held-out bound of a run, in nats per character."""
    from fkdiff.core.keys import seed_key
    from fkdiff.train.data import held_out
    from fkdiff.train.step import make_evaluation

    evaluate = make_evaluation(loaded.config, loaded.form, loaded.apply)
    unseen = jax.tree.map(jnp.asarray, held_out(loaded.config))
    return float(evaluate(loaded.params, unseen, seed_key(loaded.config.seed)))


def plain_texts(pred, grid, count: int):
    """Texts of the model alone, revealed in a random order; particles of one run, which no weight tells apart."""
    model = fk.discrete.anneal(pred, 1.0).feynman_kac("random")
    return fk.run_smc(jax.random.key(0), model, grid, count, resample=fk.smc.adaptive(fk.smc.systematic, 0.0)).particles


def row(method: str, k: int, texts, reward, judge, calls: int) -> dict:
    scores = np.asarray(jax.vmap(reward)(jnp.asarray(texts)), np.float64)
    likelihoods = np.array([judge.negative_log_likelihood(decode(text)) for text in texts])
    return {
        "method": method,
        "k": k,
        "word score": scores.mean(),
        "score error": scores.std(ddof=1) / np.sqrt(len(scores)),
        "5-gram nats per character": likelihoods.mean(),
        "nats error": likelihoods.std(ddof=1) / np.sqrt(len(likelihoods)),
        "calls per text": calls,
    }


def draw(rows) -> Figure:
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots(1, 2)
    for panel, name, error in zip(
        axes, ("word score", "5-gram nats per character"), ("score error", "nats error"), strict=True
    ):
        for method in dict.fromkeys(r["method"] for r in rows):
            chosen = [r for r in rows if r["method"] == method]
            panel.errorbar(
                [r["k"] for r in chosen], [r[name] for r in chosen], [r[error] for r in chosen], marker="o", ms=3,
                label=method,
            )  # fmt: skip
        panel.set_xscale("log", base=2)
        panel.set_xlabel("k, at equal calls per text")
        panel.set_title(name, fontsize=9)
        panel.legend(fontsize=7)
    return figure


if __name__ == "__main__":
    main()
