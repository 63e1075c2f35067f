"""Publishing a store: written beside its final place, then put there in one step, by one writer at a time.

A path either holds a whole store or nothing. While a store is being written, its files lie under a hidden sibling
name, and a `.lock` file beside it is held. What a killed writer left under the hidden name is removed by the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hamfit.errors import StoreError
from hamfit.stores.disk import disk_errors
from hamfit.stores.locks import is_locked, locked
from hamfit.stores.replacing import MANIFEST, put_in_place, recover, remove

_STORE_MARKS = ("zarr.json", MANIFEST)


def _lock_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def is_being_written(path: Path) -> bool:
    """Whether some process holds the lock of this store now."""
    return is_locked(_lock_path(path))


@contextmanager
def publishing(path: str | Path, *, overwrite: bool = False, parents: bool = True) -> Iterator[Path]:
    """Give an empty folder to write in; at the end of the block it becomes `path`, after an exception it is gone.

    With `parents` the folders above `path` are made. Raises StoreError when `path` exists (and `overwrite` is False, or
    what is there is no store) or another writer is at work on it, DiskError when the disk is full; errors of the block
    pass through unchanged. With `overwrite` the old store stays readable until the new one is complete.
    """
    path = Path(path).absolute()
    partial = path.with_name(f".{path.name}.partial")
    with _place(path, overwrite, parents):
        try:
            with disk_errors(path):
                remove(partial)
                partial.mkdir()
            yield partial
            with disk_errors(path):
                put_in_place(partial, path)
        finally:
            remove(partial)


def publish_folder(folder: Path, path: Path, *, overwrite: bool = False) -> None:
    """Put a finished store into its place; ``folder`` must lie on the same file system.

    Raises StoreError as `publishing` does.
    """
    path = path.absolute()
    with _place(path, overwrite, parents=False), disk_errors(path):
        put_in_place(folder, path)


@contextmanager
def _place(path: Path, overwrite: bool, parents: bool) -> Iterator[None]:
    """Hold a place that may be written."""
    with locked(path, _lock_path(path), parents=parents):
        with disk_errors(path):
            recover(path)
            refuse_existing(path, overwrite)
        yield


def refuse_existing(path: Path, overwrite: bool) -> None:
    """StoreError when something is at ``path``: with ``overwrite`` only for what is no store."""
    if not path.exists() and not path.is_symlink():
        return
    if not overwrite:
        raise StoreError(f"{path}: something is there already: choose another path or ask to overwrite it")
    if not (path.is_dir() and any((path / mark).exists() for mark in _STORE_MARKS)):
        raise StoreError(f"{path}: what is there is not a Zarr store and will not be overwritten: choose another path")
