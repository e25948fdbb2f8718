"""A person's pictures: a folder of PNG, JPEG or BMP files, whose sub-folders are the classes."""

from __future__ import annotations

import functools
import hashlib
import os
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fkdiff.errors import FkdiffError, require
from fkdiff.train.config.data import Facts, Images
from fkdiff.train.data import places
from fkdiff.train.data.dataset import Dataset, part_of

_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp"}
_FORMATS = ("PNG", "JPEG", "BMP")
_MOST = 10**6
_MAX_FILE = 1 << 28


class Raw(NamedTuple):
    """Decoded pictures.

    Attributes:
        pictures: Shape (n, height, width, colours), uint8.
        labels: Shape (n,), the place of the sub-folder in alphabetical order.
        classes: Names of the sub-folders.
        damaged: Names of the files that are no pictures, with the reason.
        sha256: Of all names and contents.
    """

    pictures: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    damaged: tuple[str, ...]
    sha256: str


def facts(section: Images, root: Path) -> tuple[Facts, list[str]]:
    """Reads a folder; what a run must know of it, and what a person should be told.

    Raises:
        FkdiffError: No pictures, or a damaged one where `damaged: stop` was asked for.
    """
    raw = _read(section, root)
    count, classes = len(raw.pictures), len(raw.classes)
    asked = section.classes
    require(
        asked in (None, classes),
        f"data.folder: {section.folder} has {classes} sub-folders with pictures and data.classes={asked}; leave that "
        "out.",
    )
    training = part_of(count, "train", section.held_out)
    require(len(training) >= 1, f"data.held_out={section.held_out} leaves nothing to train on; lower it.")
    values = raw.pictures[training].astype(np.float64)
    plain = section.normalize == "none"
    mean, scale = (0.0, 1.0) if plain else (float(values.mean()), float(values.std()) or 1.0)
    told = [f"{section.folder}: {count} pictures of shape {raw.pictures.shape[1:]}"]
    told += [f"{classes} classes ({', '.join(raw.classes[:8])}{', …' if classes > 8 else ''})"] if classes else []
    told += [f"{len(raw.damaged)} left out: {'; '.join(raw.damaged[:3])}"] if raw.damaged else []
    told += [f"{len(training)} to train on, {count - len(training)} held out"]
    known = Facts(
        shape=raw.pictures.shape[1:],
        count=count,
        classes=classes,
        mean=(mean,),
        scale=(scale,),
        quantum=1.0,
        class_counts=tuple(np.bincount(raw.labels[training], minlength=classes)) if classes else (),
        sha256=raw.sha256,
    )
    return known, told


def load(section: Images, part: str, seed: int, root: Path) -> Dataset:
    """One part, standardised."""
    raw, known = _read(section, root), section.known
    rows = part_of(known.count, part, section.held_out)
    examples = (raw.pictures[rows].astype(np.float32) - np.float32(known.mean[0])) / np.float32(known.scale[0])
    return Dataset(examples, raw.labels[rows])


def _read(section: Images, root: Path) -> Raw:
    folder = places.find(root, section.folder, "data.folder")
    require(folder.is_dir(), f"data.folder: {section.folder} is not a folder.")
    asked = section.model_copy(update={"facts": None}).model_dump_json()
    return _read_once(asked, folder, places.stamp(_pictures_in(folder)))


@functools.lru_cache(maxsize=1)
def _read_once(asked: str, folder: Path, stamp: tuple) -> Raw:
    from PIL.Image import DecompressionBombError

    section, files = Images.model_validate_json(asked), [Path(name) for name, *_ in stamp]
    inside = sorted({file.parent.name for file in files if file.parent != folder})
    classes = tuple(inside) if all(file.parent != folder for file in files) else ()
    pictures, labels, damaged, digest = [], [], [], hashlib.sha256()
    for file in files:
        name = str(file.relative_to(folder))
        try:
            content = _content(file)
            picture = _decoded(content, section)
        except (OSError, ValueError, SyntaxError, Warning, DecompressionBombError) as error:
            reason = str(error).replace(str(folder), "").splitlines()[0][:80] if str(error) else type(error).__name__
            sentence = f"{name} ({reason})"
            if section.damaged == "stop":
                raise FkdiffError(
                    f"data.folder: {sentence} is not a picture that can be read; remove it, or set data.damaged=skip."
                ) from None
            damaged.append(sentence)
            continue
        pictures.append(picture)
        labels.append(classes.index(file.parent.name) if classes else 0)
        digest.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    require(
        len(pictures) >= 2,
        f"data.folder: {section.folder} has {len(pictures)} pictures that can be read (.png, .jpg, .bmp), and "
        f"{len(damaged)} that cannot{': ' + damaged[0] if damaged else ''}; two or more are needed.",
    )
    return Raw(np.stack(pictures), np.asarray(labels, np.int32), classes, tuple(damaged), digest.hexdigest())


def _pictures_in(folder: Path) -> list[Path]:
    """Pictures of a folder and of its sub-folders, in alphabetical order; links are not followed."""
    found = []
    for place in [folder, *sorted(p for p in folder.iterdir() if p.is_dir() and not p.is_symlink())]:
        for entry in sorted(os.scandir(place), key=lambda e: e.name):
            plain = entry.is_file(follow_symlinks=False) and not entry.name.startswith(".")
            if plain and Path(entry.name).suffix.lower() in _ENDINGS:
                found.append(Path(entry.path))
        require(len(found) <= _MOST, f"data.folder: {folder.name} has more than {_MOST} pictures.")
    return found


def _content(file: Path) -> bytes:
    size = file.stat().st_size
    if size > _MAX_FILE:
        raise ValueError(f"{size} bytes")
    return file.read_bytes()


def _decoded(content: bytes, section: Images) -> np.ndarray:
    """The middle of a picture in the asked proportions, scaled to the asked size; (height, width, colours) uint8."""
    import io

    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
            picture = opened.convert("L" if section.colours == 1 else "RGB")
    height, width = section.size
    fitted = ImageOps.fit(picture, (width, height), method=Image.Resampling.LANCZOS)
    return np.asarray(fitted, np.uint8).reshape(height, width, section.colours)
