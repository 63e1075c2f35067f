"""What a worker loads first: it asks the kernel to be killed when the process that began it dies.

Dask's workers watch a pipe for that, in a thread, which cannot run while a task holds the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1


def dask_setup(worker: Any) -> None:
    """Called by Dask in each new worker."""
    del worker
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid != os.getppid():
        # it died before the kernel was asked
        os._exit(1)
