"""What may be read: regular files below the data root, of bounded size, as data and nothing else."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from fkdiff.errors import FkdiffError, require

MAX_BYTES = 1 << 40


def find(root: Path, place: str, argument: str) -> Path:
    """The path of `place` below `root`, after every link has been followed.

    Raises:
        FkdiffError: Nothing is there, or it leads out of the root.
    """
    whole, base = Path(os.path.realpath(root / place)), Path(os.path.realpath(root))
    require(
        whole.is_relative_to(base),
        f"{argument}: {place} leads out of the data root {root}; put the data below it, or name another --data-root.",
    )
    require(
        whole.exists(), f"{argument}: there is no {place} below the data root {root}; check the name, or --data-root."
    )
    return whole


def regular(path: Path, argument: str) -> Path:
    """A regular, non-empty file of a size that can be meant."""
    require(path.is_file(), f"{argument}: {path} is not a file.")
    size = path.stat().st_size
    require(size > 0, f"{argument}: {path} is empty.")
    require(size <= MAX_BYTES, f"{argument}: {path} has {size} bytes, more than the {MAX_BYTES} that are read.")
    return path


def sha256(path: Path) -> str:
    """Of a file, read in pieces."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise FkdiffError(f"{path}: {error.strerror}.") from None


def stamp(files: list[Path]) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of change: another stamp, and what was read before is read again."""
    found = [(str(file), file.lstat()) for file in files]
    return tuple((name, facts.st_size, facts.st_mtime_ns) for name, facts in found)
