"""Publishing one file: written under a hidden name beside its place, then renamed there in one step.

A path holds the whole file or what was there before. The lock and the translation of errors are those of stores.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hamfit.errors import StoreError
from hamfit.stores.disk import disk_errors
from hamfit.stores.locks import locked


@contextmanager
def publishing_file(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a path to write to; at the end of the block that file becomes ``path``, after an exception it is gone.

    Raises StoreError when ``path`` exists and ``overwrite`` is False, when it is a folder, and when another process is
    writing it, DiskError when the disk is full or read-only; errors of the block pass through unchanged.
    """
    path = Path(path).absolute()
    partial = path.with_name(f".{path.name}.partial")
    with locked(path, path.with_name(f".{path.name}.lock")):
        with disk_errors(path):
            refuse_taken(path, overwrite=overwrite)
        try:
            yield partial
            with disk_errors(path):
                with partial.open("rb+") as file:
                    os.fsync(file.fileno())
                partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def refuse_taken(path: Path, *, overwrite: bool) -> None:
    """StoreError when something is at ``path`` that may not be replaced."""
    if path.is_dir():
        raise StoreError(f"{path}: is a folder, where a file was to be written: choose another path")
    if (path.exists() or path.is_symlink()) and not overwrite:
        raise StoreError(f"{path}: something is there already: choose another path or ask to overwrite it")
