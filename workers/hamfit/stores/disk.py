"""Writing files, and what is said when the disk does not take them.

An OSError is called an error of the disk only where a store itself reads or writes: never around a block that runs
other people's code, whose errors are none of the disk's.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from hamfit.errors import DiskError

NOTHING_KEPT = "nothing was kept"
"""What a failed write leaves, as a rule."""


def raise_store_error(error: OSError, path: Path, left: str = NOTHING_KEPT) -> NoReturn:
    """Translate a failed write into a DiskError that names the store, the reason, the fix and what was left."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise DiskError(f"{path}: the disk is full: free space or choose another place; {left}") from error
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        raise DiskError(f"{path}: writing is not permitted there: choose another place or change its rights") from error
    reason = error.strerror or str(error)
    raise DiskError(f"{path}: cannot be written ({reason}): choose another place; {left}") from error


@contextmanager
def disk_errors(path: Path, left: str = NOTHING_KEPT) -> Iterator[None]:
    """Translate any OSError of the block, which must do nothing but read and write the store at ``path``."""
    try:
        yield
    except OSError as error:
        raise_store_error(error, path, left)


def write_bytes(path: Path, *parts: bytes) -> None:
    """Write one file whole. All writing passes here, so that tests can make any single write fail."""
    with open(path, "wb") as file:
        for part in parts:
            file.write(part)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is either whole or not there."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    write_bytes(partial, content)
    partial.replace(path)
