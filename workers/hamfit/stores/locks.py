"""Locks of writers: held by the kernel for an open file, so that none outlives its holder, however that died.

They are Linux's locks of open file descriptions, because those can be looked at without being taken (F_OFD_GETLK): a
looker never stands in a writer's way. They exclude threads of one process as well as processes, and on NFS other
machines.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hamfit.errors import StoreError
from hamfit.stores.disk import disk_errors

_FLOCK = struct.Struct("hhqqi0q")
"""C's struct flock: kind of lock, whence, start, length, process."""
_WHOLE_FILE = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open file, until that is closed; False when another open file has it."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _WHOLE_FILE)
    except BlockingIOError:
        return False
    return True


def is_locked(lock: Path) -> bool:
    """Whether somebody holds the lock of this file now; looks, and takes nothing."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _WHOLE_FILE)
    except OSError:
        return False  # the file went away under NFS
    finally:
        os.close(descriptor)
    return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)


@contextmanager
def locked(path: Path, lock: Path, *, parents: bool = True) -> Iterator[None]:
    """Hold the file ``lock`` while the store ``path`` is being written; with ``parents`` make the folders above it.

    Raises StoreError when somebody else holds it, DiskError when it cannot be made.
    """
    with disk_errors(path):
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _taken(path, lock)
    try:
        yield
    finally:
        # a folder that has become read-only keeps the file, and nobody is kept by a file that nobody holds
        with suppress(OSError):
            os.unlink(lock)
        os.close(descriptor)


def _taken(path: Path, lock: Path) -> int:
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not try_lock(descriptor):
                owner = os.pread(descriptor, 100, 0).decode(errors="replace").strip() or "another process"
                raise StoreError(f"{path}: the store is being written by {owner}: wait for it or choose another path")
            # The holder before may have unlinked the file between open and lock; then this lock protects nothing.
            with suppress(FileNotFoundError):
                if os.stat(lock).st_ino == os.fstat(descriptor).st_ino:
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
