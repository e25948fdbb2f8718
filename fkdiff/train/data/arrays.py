"""A person's numbers: .npy, .npz or .csv, checked once, standardised, and left on disk where they are many."""

from __future__ import annotations

import csv
import functools
import re
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fkdiff.errors import FkdiffError, did_you_mean, require
from fkdiff.train.config.data import Arrays, Facts
from fkdiff.train.data import places
from fkdiff.train.data.dataset import Dataset, part_of
from fkdiff.train.files import load_numbers

_BLOCK = 1 << 24  # numbers that are looked at together


class Raw(NamedTuple):
    """What a file holds.

    Attributes:
        examples: Shape (n, ...), as it lies there; a memory map where it is large.
        condition: Classes (n,) or vectors (n, k); None where there are none.
        sha256: Of the file.
    """

    examples: np.ndarray
    condition: np.ndarray | None
    sha256: str


def facts(section: Arrays, root: Path) -> tuple[Facts, list[str]]:
    """Reads and checks a file; what a run must know of it, and what a person should be told.

    Raises:
        FkdiffError: One sentence with the file, what was found and what to do.
    """
    raw = _read(section, root)
    examples, where = raw.examples, section.file
    count = len(examples)
    require(count >= 2, f"{where} holds {count} examples; two or more are needed.")
    shape = examples.shape[1:]
    require(
        1 <= len(shape) <= 3 and all(0 < length <= 2**16 for length in shape),
        f"{where} holds examples of shape {shape}; pass vectors (n, d), signals (n, length, channels) or images "
        "(n, height, width, channels).",
    )
    low, high = _range(examples, where)
    training = part_of(count, "train", section.held_out)
    require(len(training) >= 1, f"data.held_out={section.held_out} leaves nothing to train on; lower it.")
    normalize = section.normalize if section.normalize != "auto" else ("features" if len(shape) == 1 else "global")
    require(
        normalize != "features" or len(shape) == 1,
        f'data.normalize="features" is for vectors and {where} holds examples of shape {shape}; use "global".',
    )
    mean, scale, flat = _moments(examples, training, normalize)
    classes, cond_length = _conditions(raw.condition, count, section)
    kept = "read from disk as they are needed" if isinstance(examples, np.memmap) else "in memory"
    told = [f"{where}: {count} examples of shape {shape}, {examples.dtype}, from {low:.4g} to {high:.4g}, {kept}"]
    told += [f"{classes} classes"] if classes else []
    told += [f"conditions of {cond_length} numbers"] if cond_length else []
    told += [f"{flat} features are constant, and only centred"] if flat else []
    told += [f"{len(training)} to train on, {count - len(training)} held out"]
    quantum = 1.0 if np.issubdtype(examples.dtype, np.integer) else 0.0
    found = Facts(
        shape=shape,
        count=count,
        classes=classes,
        cond_length=cond_length,
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
        quantum=quantum,
        class_counts=tuple(np.bincount(raw.condition[training].astype(int), minlength=classes)) if classes else (),  # type: ignore[index]
        sha256=raw.sha256,
    )
    return found, told


def load(section: Arrays, part: str, seed: int, root: Path) -> Dataset:
    """One part, standardised; from disk, row by row, where the file is memory-mapped."""
    raw, known = _read(section, root), section.known
    rows = part_of(known.count, part, section.held_out)
    stored = Stored(raw.examples, rows, np.asarray(known.mean, np.float32), np.asarray(known.scale, np.float32))
    examples = stored if isinstance(raw.examples, np.memmap) else stored[:]
    if raw.condition is None:
        return Dataset(examples, np.zeros(len(rows), np.int32))
    return Dataset(examples, raw.condition[rows].astype(np.float32 if known.cond_length else np.int32))


class Stored:
    """Rows of an array on disk, standardised when they are read.

    Args:
        base: A memory map.
        rows: Which rows, and in which order.
        mean: Subtracted, (1,) or (d,).
        scale: Divided by, likewise.
    """

    def __init__(self, base: np.ndarray, rows: np.ndarray, mean: np.ndarray, scale: np.ndarray):
        self._base, self._rows, self._mean, self._scale = base, rows, mean, scale
        self.shape = (len(rows), *base.shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        chosen = self._base[self._rows[index]]
        return ((np.asarray(chosen, np.float32) - self._mean) / self._scale).astype(np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)


def _read(section: Arrays, root: Path) -> Raw:
    path = places.regular(places.find(root, section.file, "data.file"), "data.file")
    asked = section.model_copy(update={"facts": None}).model_dump_json()
    return _read_once(asked, path, places.stamp([path]))


@functools.lru_cache(maxsize=1)
def _read_once(asked: str, path: Path, stamp: tuple) -> Raw:
    section = Arrays.model_validate_json(asked)
    readers = {".npy": _npy, ".npz": _npz, ".csv": _csv}
    require(
        path.suffix.lower() in readers,
        f"data.file: {section.file} is none of .npy, .npz and .csv; save it as one of those.",
    )
    try:
        examples, condition = readers[path.suffix.lower()](path, section)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise FkdiffError(f"data.file: {section.file} cannot be read: {reason}.") from None
    examples = examples[:, None] if examples.ndim == 1 else examples
    require(
        np.issubdtype(examples.dtype, np.floating) or np.issubdtype(examples.dtype, np.integer),
        f"data.file: {section.file} holds {examples.dtype} and not real numbers; convert it.",
    )
    return Raw(examples, condition, places.sha256(path))


def _npy(path: Path, section: Arrays) -> tuple[np.ndarray, None]:
    _no_columns(section)
    array = load_numbers(path, mapped=path.stat().st_size > section.in_memory)
    require(array.ndim >= 1, f"data.file: {section.file} holds one number; pass one example a row.")
    return array, None


def _npz(path: Path, section: Arrays) -> tuple[np.ndarray, np.ndarray | None]:
    _no_columns(section)
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    require(
        size <= section.in_memory,
        f"data.file: {section.file} unpacks to {size} bytes, more than data.in_memory={section.in_memory}; raise that, "
        "or save the examples as .npy, which is read from disk.",
    )
    with load_numbers(path) as arrays:
        names = list(arrays.files)
        require(
            "examples" in names
            and set(names) <= {"examples", "labels", "cond"}
            and not {"labels", "cond"} <= set(names),
            f"data.file: {section.file} holds {', '.join(names)[:80] or 'nothing'}; save `examples` and, if there are "
            "any, `labels` (whole numbers) or `cond` (n, k).",
        )
        examples = arrays["examples"]
        condition = arrays["labels"] if "labels" in names else arrays["cond"] if "cond" in names else None
    require(examples.ndim >= 1, f"data.file: {section.file} holds one number; pass one example a row.")
    return examples, condition


def _no_columns(section: Arrays) -> None:
    require(
        section.label_column is None and not section.cond_columns,
        "data.label_column and data.cond_columns name columns of a .csv file; leave them out.",
    )


def _csv(path: Path, section: Arrays) -> tuple[np.ndarray, np.ndarray | None]:
    size = path.stat().st_size
    require(
        size <= section.in_memory,
        f"data.file: {section.file} has {size} bytes, more than data.in_memory={section.in_memory}; raise that, or "
        "save "
        "the numbers as .npy.",
    )
    with path.open(newline="", encoding="utf-8") as stream:
        header = next(csv.reader(stream), [])
    names = [name.strip() for name in header]
    require(
        len(set(names)) == len(names) > 0 and not any(_is_number(name) for name in names),
        f"data.file: {section.file} has no header of distinct names in its first line; add one.",
    )
    table = _numbers(path, section.file)
    require(
        table.shape[1] == len(names),
        f"data.file: {section.file} has {len(names)} names and {table.shape[1]} columns; give each column one.",
    )
    aside = [section.label_column] if section.label_column is not None else list(section.cond_columns)
    require(
        section.label_column is None or not section.cond_columns,
        "data.label_column and data.cond_columns are two ways to say what an example is; give one of them.",
    )
    for name in aside:
        require(name in names, f"data: {section.file} has no column {name!r}{did_you_mean(name, names)}.")
    places_ = [names.index(name) for name in aside]
    rest = [k for k in range(len(names)) if k not in places_]
    require(bool(rest), f"data.file: {section.file} has no column left for the examples.")
    condition = table[:, places_[0]] if section.label_column is not None else table[:, places_] if aside else None
    return table[:, rest], condition


def _numbers(path: Path, name: str) -> np.ndarray:
    """The table below the header."""
    try:
        table = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2, encoding="utf-8", comments=None)
    except ValueError as error:
        text = str(error).splitlines()[0]
        row = re.search(r"row (\d+)", text)
        line = f" in line {int(row[1]) + 2}" if row and "convert" in text else ""
        ragged = re.search(r"changed from (\d+) to (\d+) at row (\d+)", text)
        if ragged:
            raise FkdiffError(
                f"data.file: {name} is ragged: line {int(ragged[3]) + 1} has {ragged[2]} columns and the lines before "
                "it "
                f"{ragged[1]}; mend it."
            ) from None
        word = re.search(r"string '([^']{0,40})", text)
        found = f"{word[1]!r} and not a number" if word else text[:120]
        raise FkdiffError(f"data.file: {name} holds {found}{line}; write numbers only.") from None
    require(table.size > 0, f"data.file: {name} has a header and no rows.")
    return table


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _range(examples: np.ndarray, where: str) -> tuple[float, float]:
    """Smallest and largest number; refuses what is not finite in single precision, by the first place of it."""
    low, high = np.inf, -np.inf
    step = max(1, _BLOCK // max(1, int(np.prod(examples.shape[1:]))))
    for first in range(0, len(examples), step):
        with np.errstate(over="ignore"):
            block = np.asarray(examples[first : first + step]).astype(np.float32)
        bad = ~np.isfinite(block)
        if bad.any():
            place = tuple(int(k) for k in np.argwhere(bad)[0])
            value = examples[first + place[0]][place[1:]]
            what = "is not finite" if not np.isfinite(value) else "is too large for single precision"
            raise FkdiffError(
                f"data.file: {where} holds {value} at {(first + place[0], *place[1:])}, which {what}; remove or "
                "rescale it."
            )
        low, high = min(low, float(block.min())), max(high, float(block.max()))
    return low, high


def _moments(examples: np.ndarray, rows: np.ndarray, normalize: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean and deviation of the training rows, (1,) or (d,), and how many features are constant."""
    if normalize == "none":
        return np.zeros(1), np.ones(1), 0
    size = int(np.prod(examples.shape[1:])) if normalize == "features" else 1
    total, squares, count, step = np.zeros(size), np.zeros(size), 0, max(1, _BLOCK // max(1, examples[0].size))
    centre = np.asarray(examples[rows[0]], np.float64).reshape(-1 if size > 1 else (-1, 1))
    centre = centre if size > 1 else centre.mean(0)  # near the mean, so that the squares keep their digits
    for first in range(0, len(rows), step):
        block = np.asarray(examples[rows[first : first + step]], np.float64).reshape(-1, size) - centre
        total, squares, count = total + block.sum(0), squares + (block**2).sum(0), count + len(block)
    mean = total / count
    scale = np.sqrt(np.maximum(squares / count - mean**2, 0))
    flat = scale <= 1e-12 * (1 + np.abs(centre + mean))
    return centre + mean, np.where(flat, 1.0, scale), int(flat.sum())


def _conditions(condition: np.ndarray | None, count: int, section: Arrays) -> tuple[int, int]:
    """Number of classes and length of a condition; refuses what is neither."""
    where = f"data.file: {section.file}"
    if condition is None:
        require(
            section.classes in (None, 0), f"{where} has no labels and data.classes={section.classes}; leave that out."
        )
        return 0, 0
    require(len(condition) == count, f"{where} has {count} examples and {len(condition)} conditions; give each one.")
    require(
        np.issubdtype(condition.dtype, np.number) and bool(np.isfinite(condition).all()),
        f"{where} has conditions that are not finite numbers; number classes from 0.",
    )
    if condition.ndim == 2 and section.label_column is None:
        return 0, condition.shape[1]
    whole = condition.ndim == 1 and bool((condition == np.round(condition)).all()) and bool((condition >= 0).all())
    require(whole, f"{where} has labels that are not whole numbers from 0, one for each example; number the classes.")
    largest = int(condition.max())
    classes = largest + 1 if section.classes is None else section.classes
    require(
        largest < classes <= 10**5,
        f"{where} has the label {largest} and data.classes={classes} allows 0 to {classes - 1}; raise it, or leave it "
        "out.",
    )
    return classes, 0
