"""Checkpoints: safetensors for every array and a manifest that can tell when one bit has changed.

A folder `step_00001000/` holds one safetensors file per part of the state and `manifest.json`, written last:
without a manifest that verifies there is no checkpoint. SHA-256 gives integrity, not authenticity.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as decode
from safetensors.numpy import save as encode

from fkdiff.core import PyTree
from fkdiff.errors import FkdiffError, require
from fkdiff.train.files import fresh_folder, read_regular

FORMAT = 1
KEEP = 2
_MANIFEST = "manifest.json"
_FOLDER = re.compile(r"^step_(\d{8,10})$")
_MAX_MANIFEST = 8 << 20


class Refused(FkdiffError):
    """A whole checkpoint that is not the one that was asked for: no older one will be tried."""


class Checkpoint(NamedTuple):
    """What was restored.

    Attributes:
        step: Step at which it was written.
        parts: Part name -> pytree of NumPy arrays, in the structure that was asked for.
        manifest: The manifest, with the config under "config".
        skipped: Sentences about newer checkpoints that were damaged.
    """

    step: int
    parts: dict[str, PyTree]
    manifest: dict[str, Any]
    skipped: tuple[str, ...]


def flatten(tree: PyTree) -> dict[str, Any]:
    """Leaves by path, such as "network/blocks/0/first/kernel"."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/") or "value": leaf for path, leaf in leaves}


def config_hash(config: dict[str, Any]) -> str:
    """SHA-256 of a config in canonical JSON."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def save(folder: Path, step: int, parts: dict[str, PyTree], config: dict[str, Any], **facts: Any) -> Path:
    """Writes a checkpoint, and removes all but the newest two once it verifies.

    Args:
        folder: The `checkpoints` folder of a run.
        step: The step that it stands at.
        parts: Part name -> pytree of arrays; each becomes one file.
        config: The resolved config, as JSON data.
        facts: More for the manifest, as JSON data.

    Raises:
        FkdiffError: The disk is too full, or the write failed; older checkpoints are untouched.
    """
    target = folder / f"step_{step:08d}"
    if target.exists():  # written before, by the run that this one resumes
        shutil.rmtree(target)
    arrays = {name: {k: np.asarray(v) for k, v in flatten(tree).items()} for name, tree in parts.items()}
    needed = sum(array.nbytes for part in arrays.values() for array in part.values())
    free = shutil.disk_usage(folder).free
    require(
        free > 2 * needed,
        f"{folder} has {free / 1e6:.0f} MB free and a checkpoint needs {needed / 1e6:.0f} MB twice over; free some.",
    )
    manifest = {
        "format": FORMAT,
        "step": step,
        "config": config,
        "config_hash": config_hash(config),
        "versions": {name: metadata.version(name) for name in ("fkdiff", "jax", "flax", "optax", "numpy")},
        "files": {},
        **facts,
    }
    try:
        with fresh_folder(target) as temporary:
            for name, part in arrays.items():
                content = encode(part)
                manifest["files"][f"{name}.safetensors"] = {
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "bytes": len(content),
                    "arrays": _described(part),
                }
                _write(temporary / f"{name}.safetensors", content)
            _write(temporary / _MANIFEST, _seal(manifest))
    except OSError as error:
        raise FkdiffError(
            f"the checkpoint {target} could not be written ({error.strerror}); free some space."
        ) from None
    _contents(target, _manifest(target), sum(part["bytes"] for part in manifest["files"].values()))
    for old in steps(folder)[KEEP:]:
        shutil.rmtree(folder / f"step_{old:08d}", ignore_errors=True)
    for abandoned in folder.glob(".step_*.tmp"):  # of a process that was killed while writing
        shutil.rmtree(abandoned, ignore_errors=True)
    return target


def _seal(manifest: dict[str, Any]) -> bytes:
    """The manifest's one spelling, with its own SHA-256 inside."""
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    return json.dumps({"manifest": manifest, "sha256": digest}, sort_keys=True, indent=1).encode()


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def steps(folder: Path) -> list[int]:
    """Steps of the checkpoint folders, newest first; they may still turn out damaged."""
    if not folder.is_dir():
        return []
    found = [_FOLDER.match(entry.name) for entry in folder.iterdir() if entry.is_dir() and not entry.is_symlink()]
    return sorted((int(match[1]) for match in found if match), reverse=True)


def restore(folder: Path, template: Callable[[dict[str, Any]], dict[str, PyTree]]) -> Checkpoint:
    """The newest checkpoint that verifies.

    Args:
        folder: The `checkpoints` folder of a run.
        template: `template(config) -> {part: pytree of arrays or ShapeDtypeStructs}`: the parts that are wanted,
            built from the checkpoint's own config; shapes are compared before an array is read.

    Raises:
        FkdiffError: None verifies; the sentence names what is wrong with the newest. Nothing restarts silently.
    """
    skipped: list[str] = []
    for step in steps(folder):
        path = folder / f"step_{step:08d}"
        try:
            manifest = _manifest(path)
            wanted = template(manifest["config"])
            size = sum(_fits(path, name, tree, manifest) for name, tree in wanted.items())
            # Parameters, two moments and at most nine averages: a manifest that claims much more is not ours.
            contents = _contents(path, manifest, 16 * size + (1 << 20))
            parts = {name: _part(path, name, tree, contents) for name, tree in wanted.items()}
            return Checkpoint(step, parts, manifest, tuple(skipped))
        except Refused:
            raise
        except FkdiffError as error:
            skipped.append(str(error))
        except (KeyError, TypeError, AttributeError):
            skipped.append(f"{path / _MANIFEST} is not a manifest of fkdiff.")
    if skipped:
        raise FkdiffError(f"{skipped[0]} No older checkpoint is whole; restore the folder from a copy or train anew.")
    raise FkdiffError(f"{folder} holds no checkpoint; train the run first with fkdiff train.")


def _manifest(path: Path) -> dict[str, Any]:
    """The manifest, if every byte of it is as it was written."""
    try:
        raw = read_regular(path / _MANIFEST, _MAX_MANIFEST)
        manifest = json.loads(raw)["manifest"]
        whole, version = raw == _seal(manifest), manifest["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        whole, version, manifest = False, None, {}
    require(whole, f"{path / _MANIFEST} is missing or damaged.")
    require(
        version == FORMAT,
        f"{path} was written by another version of fkdiff (format {str(version)[:20]}, and this one reads {FORMAT}).",
    )
    return manifest


def _contents(path: Path, manifest: dict[str, Any], limit: int) -> dict[str, bytes]:
    """The bytes of every file, verified; a sentence that names the file otherwise."""
    files = manifest["files"]
    extra = sorted({entry.name for entry in path.iterdir()} - set(files) - {_MANIFEST})
    require(not extra, f"{path} holds {', '.join(extra)[:80]}, which its manifest does not list.")
    require(sum(facts["bytes"] for facts in files.values()) <= limit, f"{path} is larger than its model can be.")
    contents = {}
    for name, facts in files.items():
        require(
            re.fullmatch(r"[a-z][a-z0-9_]*\.safetensors", name) is not None, f"{path / _MANIFEST} lists a bad name."
        )
        try:
            contents[name] = read_regular(path / name, facts["bytes"])
        except OSError as error:
            raise FkdiffError(f"{path / name} cannot be read ({error.strerror}).") from None
        digest = hashlib.sha256(contents[name]).hexdigest()
        require(digest == facts["sha256"], f"{path / name} is damaged: its SHA-256 is not the manifest's.")
    return contents


def _described(arrays: dict[str, Any]) -> dict[str, list]:
    return {name: [list(array.shape), str(array.dtype)] for name, array in arrays.items()}


def _fits(path: Path, name: str, tree: PyTree, manifest: dict[str, Any]) -> int:
    """Compares a part's names, shapes and dtypes with the model's; returns its bytes."""
    file = f"{name}.safetensors"
    require(file in manifest["files"], f"{path} has no {file}.")
    leaves = flatten(tree)
    wanted, listed = _described(leaves), manifest["files"][file]["arrays"]
    odd = next((k for k in sorted({*wanted, *listed}) if wanted.get(k) != listed.get(k)), "")
    require(
        not odd,
        f'{path / file} does not fit its own config: "{odd}" is {listed.get(odd)} there and {wanted.get(odd)} in '
        "the model.",
    )
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves.values())


def _part(path: Path, name: str, tree: PyTree, contents: dict[str, bytes]) -> PyTree:
    """One part in the structure of `tree`."""
    file = f"{name}.safetensors"
    try:
        arrays = decode(contents[file])
    except SafetensorError:
        raise FkdiffError(f"{path / file} is not a safetensors file.") from None
    leaves = flatten(tree)
    require(_described(arrays) == _described(leaves), f"{path / file} holds other arrays than its manifest lists.")
    return jax.tree.unflatten(jax.tree.structure(tree), [arrays[k] for k in leaves])
