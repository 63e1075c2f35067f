"""Compiling kernels once, before several processes want them.

numba keeps compiled code in a cache on disk. Processes that fill it at the same time duplicate the work at best, so the
first one holds a lock while it runs every kernel on a handful of particles; the others wait and then only load.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def compiling_alone() -> Iterator[None]:
    """Hold the lock of this machine for compiling kernels; go on without it where there is no place for it."""
    lock = Path(tempfile.gettempdir()) / "hamfit-kernels.lock"
    try:
        descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT, 0o666)
    except OSError:
        # no place for a lock (or one owned by somebody else): compiling twice is the lesser evil
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
