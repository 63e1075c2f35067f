"""A store takes the place of another while others read it.

Both change places in one step, so that a path that holds a store always holds a whole one. A file system that cannot
do that (NFS) gets two renames, between which readers wait. Whoever opened the store before reads chunk by chunk, and
each chunk is checked against the manifest it has: two stores never mix. What reads a store in one go begins again when
it was replaced meanwhile; what was opened earlier is told to be opened again.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, TypeVar

from hamfit.errors import StoreError

T = TypeVar("T")
Stamp: TypeAlias = tuple[int, int, int]

MANIFEST = "_manifest.json"
"""File that is written last and names all that is in a store."""

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_TRIES = 40
_PAUSE_SECONDS = 0.005


def stamp_of(root: Path) -> Stamp | None:
    """What tells the store that is at a path now from any other that was or will be there; None where there is none."""
    try:
        found = os.stat(root / MANIFEST)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def read_steadily(root: Path, read: Callable[[], T]) -> T:
    """What ``read`` finds in the store at ``root``; read again when another store took its place meanwhile.

    Raises the StoreError of ``read`` when the store stayed the same, or was replaced every time.
    """
    for _ in range(_TRIES):
        stamp = stamp_of(root)
        try:
            return read()
        except StoreError:
            is_between = stamp is None and replaced_path(root).exists()
            if not is_between and stamp_of(root) == stamp:
                raise
        time.sleep(_PAUSE_SECONDS)
    return read()


def replaced_path(path: Path) -> Path:
    """Where a store lies between two renames."""
    return path.with_name(f".{path.name}.replaced")


def put_in_place(folder: Path, path: Path) -> None:
    """Make a finished store that at ``path``, whose former content is removed; both lie on one file system."""
    if not path.exists():
        folder.rename(path)
    elif _exchange(folder, path):
        remove(folder)
    else:
        replaced = replaced_path(path)
        path.rename(replaced)
        try:
            folder.rename(path)
        except OSError:
            replaced.rename(path)
            raise
        remove(replaced)


def recover(path: Path) -> None:
    """Put back what a writer that was killed between its two renames had moved away."""
    replaced = replaced_path(path)
    if not path.exists() and replaced.exists():
        replaced.rename(path)
    remove(replaced)


def remove(path: Path) -> None:
    """Remove a folder, or the link to one, as far as that can be done."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Let two folders change places in one step; False where the system or the file system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    return rename is not None and not rename(
        _AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE
    )
