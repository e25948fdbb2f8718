"""One file per result: arrays in .npz, nothing executable, and a JSON index of where each belongs."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import DictKey, FlattenedIndexKey, GetAttrKey, SequenceKey

from fkdiff.core import PyTree
from fkdiff.errors import FkdiffError, require

if TYPE_CHECKING:
    from fkdiff.smc.results.result import SMCResult

FORMAT = "fkdiff.SMCResult.1"


def save(out: SMCResult, path: str | os.PathLike) -> None:
    """Writes `out` to `path`: temporary file, fsync, rename."""
    target = Path(path)
    require(target.suffix == ".npz", f"path={str(path)!r} must end in .npz, the format of a saved result.")
    require(
        target.parent.is_dir(),
        f"path={str(path)!r} lies in a folder that does not exist; make {str(target.parent)!r} first.",
    )
    arrays, index = {}, []
    for keys, leaf in jax.tree_util.tree_leaves_with_path(out):
        steps = [_step(key) for key in keys]
        require(
            not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key),
            f"out{jax.tree_util.keystr(keys)} is a random key, which a result file does not hold; leave it out with "
            "the model's extract.",
        )
        array = np.asarray(leaf)
        index.append({"path": steps, "dtype": array.dtype.name})
        # Types that NumPy's format does not know (bfloat16) travel as their bits.
        arrays[f"leaf_{len(index) - 1}"] = array.view(f"u{array.itemsize}") if array.dtype.kind == "V" else array
    header = json.dumps({"format": FORMAT, "scheme": out.scheme, "strata": out.strata, "leaves": index})
    arrays["index"] = np.frombuffer(header.encode(), np.uint8)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load(path: str | os.PathLike, make: Callable[..., SMCResult]) -> SMCResult:
    """Reads a result, put together by `make(scheme=…, info={…}, …)`. Arrays of objects are refused.

    Trees of particles come back as nested dicts, lists and arrays.
    """
    try:
        with open(path, "rb") as handle, np.load(handle) as file:
            header = json.loads(file["index"].tobytes())
            if header["format"] != FORMAT:
                raise KeyError(header["format"])
            stored = [file[f"leaf_{i}"] for i in range(len(header["leaves"]))]
        root: Any = {}
        for entry, array in zip(header["leaves"], stored, strict=True):
            dtype = jnp.dtype(entry["dtype"])
            root = _graft(root, entry["path"], jnp.asarray(array.view(dtype) if array.dtype != dtype else array))
        fields = {name: _lists(tree) for name, tree in root.items()}
        strata = tuple(int(size) for size in header.get("strata", ()))
        return _whole(make(scheme=str(header["scheme"]), strata=strata, **fields))
    except FileNotFoundError:
        raise FkdiffError(f"no result at {str(path)!r}; give the path of a file that out.save wrote.") from None
    except (
        OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError,
        zipfile.BadZipFile, zlib.error, MemoryError, RuntimeError,
    ) as cause:  # fmt: skip
        raise FkdiffError(
            f"{str(path)!r} is damaged or not a saved result ({type(cause).__name__}); restore it or run again."
        ) from cause


def _whole(out: SMCResult) -> SMCResult:
    """Refuses a result whose arrays cannot belong together; ValueError, for `load` to explain."""
    batch = out.log_normalizer.shape
    count, steps = out.log_weights.shape[-1], out.info.residual.shape[-1]
    expected = {
        "log_weights": (out.log_weights, (*batch, count)),
        "ancestors": (out.info.ancestors, (*batch, count)),
        "ess": (out.info.ess, (*batch, steps + 1)),
        "resampled": (out.info.resampled, (*batch, steps)),
    }
    expected |= {f"particle leaf {i}": (leaf, (*batch, count)) for i, leaf in enumerate(jax.tree.leaves(out.particles))}
    for name, (leaf, shape) in expected.items():
        if leaf.shape[: len(shape)] != shape:
            raise ValueError(f"{name} has shape {leaf.shape}, not {shape}")
    return out


def _step(key: Any) -> str | int:
    """One step of a key path: a name or a position."""
    match key:
        case GetAttrKey():
            return key.name
        case SequenceKey():
            return key.idx
        case DictKey() | FlattenedIndexKey():
            return int(key.key) if isinstance(key.key, int | np.integer) else str(key.key)
    return str(key)


def _graft(tree: Any, path: list[str | int], leaf: PyTree) -> Any:
    if not path:
        return leaf
    tree[path[0]] = _graft(tree.get(path[0], {}), path[1:], leaf)
    return tree


def _lists(tree: Any) -> Any:
    """Dicts keyed by positions 0, 1, ... are sequences."""
    if not isinstance(tree, dict):
        return tree
    children = {key: _lists(child) for key, child in tree.items()}
    if children and list(children) == list(range(len(children))):
        return list(children.values())
    return children
