"""A text run: everything that holds for other runs, and a denoiser to load."""

import json
import os
import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fkdiff.cli import cache, main
from fkdiff.cli.overrides import override
from fkdiff.core import FkdiffError
from fkdiff.train import checkpoint, load_predictor, load_run, loop, run
from fkdiff.train.config import load_config, parse_config
from fkdiff.train.plan import resolved
from fkdiff.train.text import MASK, VOCABULARY, decode, encode, pydoc_corpus

ROOT = Path(__file__).parents[2]
TEXT = """
data: {kind: pydoc_chars, length: 12}
path: {kind: masked}
model: {kind: transformer, width: 8, depth: 1, heads: 2}
optim: {steps: 12, batch_size: 8, warmup: 2, learning_rate: 1e-2}
logging: {metrics_every: 4, checkpoint_every: 4}
sampling: {num_samples: 3, num_steps: 5}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "straight"
    return out, loop.train(parse_config(TEXT), out)


def test_the_run_folder_holds_text_and_the_last_line_the_baselines(trained):
    out, result = trained
    names = {entry.name for entry in out.iterdir()}
    assert names == {"config.yaml", "metrics.jsonl", "checkpoints", "samples.txt", ".lock"}
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [4, 8, 12]
    assert ["unigram" in row for row in rows] == [False, False, True]
    assert rows[-1]["bigram"] == result.baselines["bigram"]
    assert 3 <= result.held_out <= 5
    texts = (out / "samples.txt").read_text().removesuffix("\n").split("\n" + "─" * 72 + "\n")
    assert [len(text) for text in texts] == [12] * 3


def test_stopped_and_resumed_it_is_bitwise_the_same_run(trained, tmp_path, monkeypatch):
    straight, _ = trained

    def interrupted(config, data_root):
        plan = resolved(config, data_root)

        def counted(state, data, root):
            if int(state.step) == 6:
                os.kill(os.getpid(), signal.SIGTERM)
            return plan.step(state, data, root)

        return plan._replace(step=counted)

    out = tmp_path / "broken"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "resolved", interrupted)
        result = loop.train(parse_config(TEXT), out)
    assert (result.stopped, result.step) == (signal.SIGTERM, 7)
    loop.train(parse_config(TEXT), out, resume=True)
    for file in ("params", "ema", "optimizer", "counters"):
        name = f"checkpoints/step_00000012/{file}.safetensors"
        assert (out / name).read_bytes() == (straight / name).read_bytes()
    assert (out / "samples.txt").read_bytes() == (straight / "samples.txt").read_bytes()


def test_another_text_is_not_resumed_on(trained, monkeypatch):
    out, _ = trained
    changed = pydoc_corpus()._replace(sha256="0" * 64)
    monkeypatch.setattr("fkdiff.train.data.sources.pydoc_corpus", lambda: changed)
    with pytest.raises(FkdiffError, match=r"another text than this Python's pydoc_data\.topics"):
        loop.train(parse_config(TEXT), out, resume=True)


def test_a_loaded_run_offers_its_denoiser(trained):
    out, _ = trained
    loaded = load_run(out)
    assert (loaded.vocabulary, loaded.shape, loaded.denoiser.process.mask) == (VOCABULARY, (12,), MASK)
    assert loaded.corpus["sha256"] == pydoc_corpus().sha256
    tokens = jnp.asarray(encode("the class is")).at[3:6].set(MASK)
    apply = jax.jit(loaded.apply)
    logits = apply(loaded.params, tokens, 0.5, None)
    assert logits.shape == (12, 96)
    assert bool(jnp.isfinite(logits).all())
    np.testing.assert_array_equal(logits, apply(loaded.params, tokens, 0.9, None))  # the time is not read
    for absent in (lambda: loaded.predictor, lambda: load_predictor(out), lambda: loaded.given(None)):
        with pytest.raises(FkdiffError, match="predicts tokens, not a score"):
            absent()


def test_the_command_line_samples_and_tells(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cache, "enable_cache", lambda: None)
    out, _ = trained
    assert main(["info", str(out)]) == 0
    said = capsys.readouterr().out
    assert f"SHA-256 {pydoc_corpus().sha256}, as in this Python" in said
    assert "example     12, no classes" in said
    words = ["sample", str(out), "--out", str(tmp_path / "drawn"), "--num", "4", "--steps", "5", "--seed", "2"]
    assert main(words) == 0
    assert {f.name for f in (tmp_path / "drawn").iterdir()} == {"samples.npz", "samples.txt", "sample.json"}
    with np.load(tmp_path / "drawn" / "samples.npz", allow_pickle=False) as file:
        tokens = file["tokens"]
    assert tokens.shape == (4, 12)
    assert tokens.min() >= 0
    assert tokens.max() < MASK
    page = (tmp_path / "drawn" / "samples.txt").read_text()
    assert all(decode(row) in page for row in tokens)
    assert len({decode(row) for row in tokens}) == 4
    assert json.loads((tmp_path / "drawn" / "sample.json").read_text())["sampling"]["num_steps"] == 5
    capsys.readouterr()
    for more, part in [
        (["--solver", "ddim"], "sampled by unmasking"),
        (["--class", "1"], "trained without classes"),
        (["--class", "all"], "trained without classes"),
        (["--guidance", "2"], "trained without classes"),
    ]:
        assert main(["sample", str(out), "--out", str(tmp_path / "x"), *more]) == 2
        err = capsys.readouterr().err
        assert part in err
        assert err.count("\n") == 1
    steer = ["steer", str(out), "--config", str(ROOT / "configs/steer/anneal.yaml"), "--out", str(tmp_path / "x")]
    assert main(steer) == 2
    assert not (tmp_path / "x").exists()


WRONG = {
    "data: {kind: pydoc_chars}": 'path.kind="cosine" takes none; use "masked"',
    "data: {kind: pydoc_chars}\npath: {kind: masked}": 'model.kind="mlp" takes none; use "transformer"',
    "data: {kind: digits}\nmodel: {kind: transformer}": 'model.kind="transformer" needs text',
    "data: {kind: digits}\npath: {kind: masked}": 'path.kind="masked" needs text',
    TEXT.replace("heads: 2", "heads: 3"): "must be a multiple of model.heads=3",
    TEXT + "objective: {kind: noise}": "leave that section out",
    TEXT.replace("num_steps: 5", "solver: ddim"): "leave sampling.solver",
    TEXT.replace("masked}", "masked, power: 0.5}"): "path.power=0.5",
    TEXT.replace("length: 12", "length: 1"): "data.length=1",
    TEXT.replace("masked}", "masked, log_snr: [-9, 9]}"): 'unknown key "path.log_snr"',
}


@pytest.mark.parametrize("text", WRONG)
def test_sections_that_contradict_each_other_are_refused_in_one_sentence(text):
    with pytest.raises(FkdiffError) as caught:
        parse_config(text, "my.yaml")
    assert WRONG[text] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_line_switches_the_sections_together():
    config = parse_config("data: {kind: digits}\nmodel: {kind: unet}")
    words = "--data.kind pydoc_chars --data.length 9 --path.kind masked --model.kind transformer --model.heads 2"
    new = override(config, words.split())
    assert (new.data.kind, new.data.length, new.path.kind) == ("pydoc_chars", 9, "masked")  # type: ignore[union-attr]
    assert (new.model.kind, new.model.heads) == ("transformer", 2)  # type: ignore[union-attr]
    with pytest.raises(FkdiffError, match='use "masked"'):
        override(config, words.replace("--path.kind masked ", "").split())


def test_what_was_written_is_read_back(trained):
    out, _ = trained
    assert load_config(out / "config.yaml") == parse_config(TEXT) == load_run(out).config
    newest = checkpoint.steps(out / "checkpoints")[0]
    manifest = json.loads((out / "checkpoints" / f"step_{newest:08d}" / "manifest.json").read_text())["manifest"]
    assert manifest["corpus"]["sha256"] == pydoc_corpus().sha256
    assert run.stored(manifest["config"]) == parse_config(TEXT)


@pytest.mark.slow
def test_a_seventh_of_the_shipped_training_beats_single_characters(tmp_path):
    config = load_config(ROOT / "configs" / "pydoc_chars.yaml")
    short = config.optim.model_copy(update={"steps": 300})
    result = loop.train(config.model_copy(update={"optim": short}), tmp_path / "run", picture=False)
    assert result.held_out <= result.baselines["unigram"] - 0.3
    assert jax.tree.all(jax.tree.map(lambda leaf: bool(jnp.isfinite(leaf).all()), load_run(tmp_path / "run").params))
