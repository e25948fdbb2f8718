"""Checkpoints: every changed byte is noticed, every crash leaves something whole."""

import errno
import shutil
from collections import namedtuple

import jax.numpy as jnp
import numpy as np
import pytest

from fkdiff.errors import FkdiffError
from fkdiff.train import checkpoint

PARTS = {
    "params": {"a": jnp.arange(6.0).reshape(2, 3), "b": {0: jnp.ones(3), 1: jnp.zeros((), jnp.int32)}},
    "ema": {"a": jnp.full((2, 3), 0.5)},
}
CONFIG = {"seed": 0, "rate": 1e-5, "name": "é"}


def template(config):
    return PARTS


@pytest.fixture
def folder(tmp_path):
    for step in (5, 10):
        checkpoint.save(tmp_path, step, PARTS, CONFIG, precision="x32")
    return tmp_path


def test_what_is_saved_is_restored_bit_for_bit(folder):
    found = checkpoint.restore(folder, template)
    assert (found.step, found.skipped) == (10, ())
    assert found.manifest["config"] == CONFIG
    for name, tree in PARTS.items():
        for path, leaf in checkpoint.flatten(tree).items():
            back = checkpoint.flatten(found.parts[name])[path]
            np.testing.assert_array_equal(back, np.asarray(leaf))
            assert back.dtype == leaf.dtype


def test_a_flipped_bit_in_any_file_is_named_and_the_older_checkpoint_taken(folder):
    rng = np.random.default_rng(0)
    newest = folder / "step_00000010"
    files = sorted(newest.iterdir())
    assert [f.name for f in files] == ["ema.safetensors", "manifest.json", "params.safetensors"]
    for file in files:
        whole = file.read_bytes()
        for position in {0, len(whole) - 1, *rng.integers(0, len(whole), 40).tolist()}:
            damaged = bytearray(whole)
            damaged[position] ^= 1 << int(rng.integers(8))
            file.write_bytes(damaged)
            found = checkpoint.restore(folder, template)
            assert found.step == 5
            assert len(found.skipped) == 1
            assert file.name in found.skipped[0]
        file.write_bytes(whole)
    assert checkpoint.restore(folder, template).step == 10


def test_truncated_missing_added_and_linked_files_are_no_checkpoint(folder, tmp_path_factory):
    newest = folder / "step_00000010"
    backup = tmp_path_factory.mktemp("backup") / "copy"
    shutil.copytree(newest, backup)

    def damage(kind):
        file = newest / "params.safetensors"
        if kind == "truncated":
            file.write_bytes(file.read_bytes()[:-1])
        elif kind == "longer":
            file.write_bytes(file.read_bytes() + b"x")
        elif kind == "missing":
            file.unlink()
        elif kind == "no manifest":
            (newest / "manifest.json").unlink()
        elif kind == "added":
            (newest / "extra.txt").write_text("x")
        else:
            file.unlink()
            file.symlink_to(backup / "params.safetensors")

    for kind in ("truncated", "longer", "missing", "no manifest", "added", "linked"):
        damage(kind)
        assert checkpoint.restore(folder, template).step == 5, kind
        shutil.rmtree(newest)
        shutil.copytree(backup, newest)


def test_when_nothing_is_whole_it_stops_and_says_so(folder, tmp_path_factory):
    for step in ("step_00000005", "step_00000010"):
        (folder / step / "ema.safetensors").write_bytes(b"")
    with pytest.raises(FkdiffError, match=r"step_00000010/ema\.safetensors is damaged.*No older checkpoint"):
        checkpoint.restore(folder, template)
    with pytest.raises(FkdiffError, match="holds no checkpoint"):
        checkpoint.restore(tmp_path_factory.mktemp("empty"), template)


def test_arrays_that_do_not_fit_the_model_are_refused_before_they_are_read(folder):
    larger = {"ema": {"a": jnp.zeros((3, 3))}}
    with pytest.raises(FkdiffError, match=r'does not fit its own config: "a" is \[\[2, 3\]'):
        checkpoint.restore(folder, lambda config: larger)
    with pytest.raises(FkdiffError, match=r"has no optimizer\.safetensors"):
        checkpoint.restore(folder, lambda config: {"optimizer": PARTS["ema"]})


def test_two_are_kept_and_nothing_else_lies_about(folder):
    (folder / ".step_00000011.abc.tmp").mkdir()
    checkpoint.save(folder, 15, PARTS, CONFIG)
    assert sorted(entry.name for entry in folder.iterdir()) == ["step_00000010", "step_00000015"]
    checkpoint.save(folder, 15, PARTS, CONFIG | {"seed": 1})
    assert checkpoint.restore(folder, template).manifest["config"]["seed"] == 1


def test_a_full_disk_leaves_the_older_checkpoints_and_no_rubbish(folder, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "_write", full)
    with pytest.raises(FkdiffError, match="No space left"):
        checkpoint.save(folder, 15, PARTS, CONFIG)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("Usage", "free")(10))
    with pytest.raises(FkdiffError, match="free some"):
        checkpoint.save(folder, 20, PARTS, CONFIG)
    assert sorted(entry.name for entry in folder.iterdir()) == ["step_00000005", "step_00000010"]
    assert checkpoint.restore(folder, template).step == 10


def test_another_version_is_named(folder):
    import json

    for step in (5, 10):
        file = folder / f"step_{step:08d}" / "manifest.json"
        manifest = json.loads(file.read_bytes())["manifest"]
        manifest["format"] = 2
        file.write_bytes(checkpoint._seal(manifest))
    with pytest.raises(FkdiffError, match=r"another version of fkdiff \(format 2, and this one reads 1\)"):
        checkpoint.restore(folder, template)


def test_a_manifest_that_claims_too_much_is_not_believed(folder):
    import json

    file = folder / "step_00000010" / "manifest.json"
    manifest = json.loads(file.read_bytes())["manifest"]
    manifest["files"]["huge.safetensors"] = {"sha256": "0" * 64, "bytes": 2**60, "arrays": {}}
    file.write_bytes(checkpoint._seal(manifest))
    (folder / "step_00000010" / "huge.safetensors").write_bytes(b"")
    found = checkpoint.restore(folder, template)
    assert found.step == 5
    assert "larger than its model can be" in found.skipped[0]
    del manifest["files"]
    file.write_bytes(checkpoint._seal(manifest))
    assert checkpoint.restore(folder, template).step == 5
