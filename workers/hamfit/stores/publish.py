"""Publishing a store: written beside its final place, then renamed there in one step, by one writer at a
time.

A path either holds a whole store or nothing. While a store is being written, its files lie under a hidden
sibling name, and a `.lock` file beside it is held with flock: the kernel lets go of it when the writer ends,
however it ends, so no stale lock can remain. What a killed writer left under the hidden name is removed by
the next writer.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from hamfit.errors import DiskError, StoreError

_STORE_MARKS = ("zarr.json", "_manifest.json")


def _lock_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _partial_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _replaced_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.replaced")


def is_being_written(path: Path) -> bool:
    """Whether some process holds the lock of this store now."""
    try:
        descriptor = os.open(_lock_path(path), os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


NOTHING_KEPT = "nothing was kept"
"""What a failed write leaves, as a rule."""


def raise_store_error(error: OSError, path: Path, left: str = NOTHING_KEPT) -> NoReturn:
    """Translate a failed write into a DiskError that names the store, the reason, the fix and what was left."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise DiskError(f"{path}: the disk is full: free space or choose another place; {left}") from error
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        raise DiskError(
            f"{path}: writing is not permitted there: choose another place or change its rights"
        ) from error
    reason = error.strerror or str(error)
    raise DiskError(f"{path}: cannot be written ({reason}): choose another place; {left}") from error


@contextmanager
def locked(path: Path, lock: Path) -> Iterator[None]:
    """Hold the file ``lock`` while the store ``path`` is being written.

    The lock is the kernel's (flock): it vanishes with the process that held it, however that died. Raises StoreError
    when another process holds it.
    """
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(descriptor, 100, 0).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            raise StoreError(
                f"{path}: the store is being written by {owner}: wait for it or choose another path"
            ) from error
        # The previous holder may have unlinked the file between open and flock; then this lock protects
        # nothing.
        with suppress(FileNotFoundError):
            if os.stat(lock).st_ino == os.fstat(descriptor).st_ino:
                break
        os.close(descriptor)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)
        yield
    finally:
        with suppress(FileNotFoundError):
            os.unlink(lock)
        os.close(descriptor)


@contextmanager
def publishing(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give an empty folder to write in; at the end of the block it becomes `path`, after an exception it is
    gone.

    Raises StoreError when `path` exists (and `overwrite` is False, or what is there is no store), when
    another writer is at work on it, or when the disk is full. With `overwrite` the old store stays readable
    until the new one is complete.
    """
    path = Path(path).absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path, _lock_path(path)):
            _remove_leftovers(path)
            refuse_existing(path, overwrite)
            partial = _partial_path(path)
            try:
                partial.mkdir()
                yield partial
                _replace(path, partial)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise_store_error(error, path)


def publish_folder(folder: Path, path: Path, *, overwrite: bool = False) -> None:
    """Rename a finished store into its place; ``folder`` must lie on the same file system.

    Raises StoreError as `publishing` does.
    """
    path = path.absolute()
    try:
        with locked(path, _lock_path(path)):
            _remove_leftovers(path)
            refuse_existing(path, overwrite)
            _replace(path, folder)
    except OSError as error:
        raise_store_error(error, path)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """StoreError when something is at ``path``: with ``overwrite`` only for what is no store."""
    if not path.exists() and not path.is_symlink():
        return
    if not overwrite:
        raise StoreError(f"{path}: something is there already: choose another path or ask to overwrite it")
    if not (path.is_dir() and any((path / mark).exists() for mark in _STORE_MARKS)):
        raise StoreError(f"{path}: what is there is not a Zarr store and will not be overwritten: choose another path")


def _remove_leftovers(path: Path) -> None:
    partial, replaced = _partial_path(path), _replaced_path(path)
    if partial.exists():
        shutil.rmtree(partial)
    if replaced.exists():
        # A writer was killed between the two renames of _replace: the old store is whole and comes back.
        if path.exists():
            shutil.rmtree(replaced)
        else:
            replaced.rename(path)


def _replace(path: Path, partial: Path) -> None:
    replaced = _replaced_path(path)
    if path.exists():
        path.rename(replaced)
    try:
        partial.rename(path)
    except OSError:
        if replaced.exists():
            replaced.rename(path)
        raise
    shutil.rmtree(replaced, ignore_errors=True)
