"""The persistent compilation cache of the command line."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/fkdiff, by default ~/.cache/fkdiff."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fkdiff"


def enable_cache() -> Path | None:
    """Keeps compiled programs between runs; returns the folder, or None where there is no safe one.

    Compiled programs are code: the folder must belong to this user and be closed to all others.
    """
    import jax

    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        facts = folder.lstat()
    except OSError:
        return None
    if facts.st_uid != os.getuid() or facts.st_mode & 0o077 or folder.is_symlink():
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    return folder
