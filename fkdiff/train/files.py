"""Files that are whole or absent, and a lock that names its holder. Free of JAX."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from fkdiff.errors import FkdiffError, require

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")


def check_name(path: Path, argument: str = "--out") -> Path:
    """Refuses a folder whose own name is not plain; returns the path made absolute."""
    require(
        bool(NAME.match(path.name)),
        f"{argument}={str(path)[:80]!r}: the last part must be 1 to 64 letters, digits, dots, dashes or "
        "underscores and begin with a letter or digit; choose another name.",
    )
    whole = Path(os.path.abspath(path))
    place = next(parent for parent in whole.parents if os.path.lexists(parent))
    require(
        place.is_dir() and os.access(place, os.W_OK | os.X_OK),
        f"{argument}={str(path)[:80]}: {place} is not a folder that may be written to; choose another place.",
    )
    return whole


def existing_run(folder: str | Path) -> Path:
    """Refuses what is no folder."""
    place = Path(folder)
    require(place.is_dir(), f"{place}: there is no such run; train it with fkdiff train CONFIG --out {place} first.")
    return place


def write_file(path: Path, content: bytes) -> None:
    """Writes a file so that a crash leaves either the old one or the new one, on disk and not in a cache."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes renames inside `folder` survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_regular(path: Path, limit: int) -> bytes:
    """Reads a regular file of at most `limit` bytes; never follows a link.

    Raises:
        FkdiffError: Not a regular file, or longer.
        OSError: It cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        facts = os.fstat(stream.fileno())
        require(stat.S_ISREG(facts.st_mode), f"{path} is not a regular file; remove it.")
        require(facts.st_size <= limit, f"{path} has {facts.st_size} bytes, more than the {limit} expected.")
        return stream.read(limit + 1)


def load_numbers(source: Path | BinaryIO, mapped: bool = False) -> Any:
    """NumPy's own files as numbers: arrays of Python objects, which would run code, are refused by NumPy's default.

    Args:
        source: A .npy or .npz file, or an open one.
        mapped: Leaves a .npy on disk.

    Raises:
        ValueError: It is no such file, or holds objects.
    """
    import numpy as np

    return np.load(source, mmap_mode="r" if mapped else None)


def parse_json(text: str | bytes) -> Any:
    """JSON as data.

    Raises:
        ValueError: It is none, or nested so deeply that it can only be meant to do harm.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def metric_rows(file: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl that are whole; none where there is no such file."""
    rows = []
    for line in file.read_text("utf-8", "replace").splitlines() if file.is_file() else []:
        try:
            row = parse_json(line)
        except ValueError:
            continue  # cut short by a crash
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def refuse_existing(path: Path, argument: str = "--out") -> None:
    """Refuses an output that is already there, before anything is computed."""
    require(
        not os.path.lexists(path),
        f"{argument}={path} already exists and is never overwritten; choose another name or remove it.",
    )


@contextlib.contextmanager
def fresh_folder(out: Path) -> Iterator[Path]:
    """Yields a temporary folder that becomes `out` when the block ends well, and vanishes when it does not."""
    refuse_existing(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        sync_folder(temporary)
        refuse_existing(out)
        os.rename(temporary, out)
        sync_folder(out.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Holds the lock of a run folder; the operating system drops it when the process ends, however it ends.

    Raises:
        FkdiffError: Another process holds it; the sentence names the process.
    """
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "r+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = stream.read(200).strip() or "another process"
            raise FkdiffError(f"{folder} is in use by {holder}; wait for it or stop it.") from None
        stream.seek(0)
        stream.truncate()
        stream.write(json.dumps({"process": os.getpid(), "host": socket.gethostname()}))
        stream.flush()
        yield
