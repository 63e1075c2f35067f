"""Copies of models that stay what they are: whole or not there, read-only, with a digest over everything in them."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from hamfit.errors import DiskError, StoreError
from hamfit.stores.disk import disk_errors
from hamfit.stores.publish import publishing

Stamps: TypeAlias = tuple[tuple[str, int, int, int], ...]
"""Of every file its path, place on the disk (inode), size, and time of change in ns."""

_READ_ONLY = 0o444


def keep_copy(source: Path, target: Path) -> str:
    """Copy a folder to ``target``, and return the digest; a whole copy that is there is kept.

    The copy lies under a hidden name until it is on the disk. Something else at ``target`` (a copy of what the folder
    once was) is replaced.

    Raises:
        StoreError: the folder holds links or other things that are neither file nor folder.
        DiskError: the disk is full or read-only.

    """
    try:
        digest = digest_of(source)
        if target.is_dir() and _is_copy(target, digest):
            return digest
    except OSError as error:
        raise DiskError(f"{source}: cannot be read ({error.strerror}); see to the disk") from error
    with publishing(target, overwrite=True) as partial, disk_errors(target):
        for relative in _files(source):
            place = partial / relative
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / relative, place)
            place.chmod(_READ_ONLY)
            _to_disk(place)
        for folder, _, _ in os.walk(partial, topdown=False):
            _to_disk(Path(folder))
        if digest_of(partial) != digest:
            raise StoreError(f"{source}: changed while it was copied; publish it again")
    with disk_errors(target):
        _to_disk(target.parent)
    return digest


def digest_of(folder: Path) -> str:
    """SHA-256 over the paths, sizes and contents of all files in a folder; raises StoreError for anything else."""
    whole = hashlib.sha256()
    for relative in _files(folder):
        with (folder / relative).open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
        whole.update(f"{len(relative.encode())}:{relative}:{size}:{content}\n".encode())
    return whole.hexdigest()


def stamps_of(folder: Path) -> Stamps:
    """By what a change of any file shows without reading it; raises StoreError as `digest_of` does."""
    found = []
    for relative in _files(folder):
        status = (folder / relative).lstat()
        # the time of change is the kernel's; unlike that of writing it cannot be set back
        found.append((relative, status.st_ino, status.st_size, status.st_ctime_ns))
    return tuple(found)


def _is_copy(target: Path, digest: str) -> bool:
    """Whether a folder is a finished copy: the right content, and no file that can be written."""
    try:
        if digest_of(target) != digest:
            return False
    except StoreError:
        return False
    return all(stat.S_IMODE((target / relative).stat().st_mode) == _READ_ONLY for relative in _files(target))


def _files(folder: Path) -> Iterator[str]:
    """All files in a folder and the folders in it, by path, in order; StoreError for what is neither."""
    found, waiting = [], [""]
    while waiting:
        at = waiting.pop()
        with os.scandir(folder / at) as entries:
            for entry in entries:
                relative = f"{at}/{entry.name}" if at else entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(relative)
                elif entry.is_file(follow_symlinks=False):
                    found.append(relative)
                else:
                    raise StoreError(f"{folder}: {relative} is neither file nor folder; write the model again")
    yield from sorted(found)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
