"""What a process that computes is told and asked: BLAS on one thread, freed memory kept, the most it ever held."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache

import psutil

PROCESS_BYTES = 400 * 2**20
"""Resident memory of a process that has imported everything, kernels loaded, and computed nothing."""


def _one_blas_thread() -> AbstractContextManager[object]:
    # only libraries that are loaded can be told, and SciPy brings a BLAS of its own beside NumPy's
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(limits=1, user_api="blas")
    return limits


@contextmanager
def single_blas_thread() -> Iterator[None]:
    """BLAS on one thread of execution within this process, until the block ends."""
    with _one_blas_thread():
        yield


@cache
def prepare_worker() -> None:
    """Prepare a worker for the rest of its life, once: BLAS on one thread, freed memory kept for the next panel.

    Dask starts workers with MALLOC_TRIM_THRESHOLD_ = 64 kB, so that idle ones stay small; panels are freed and
    allocated thousands of times a second, and fetching their pages anew made shards take 1.8 times as long.
    """
    # not a context: tasks run side by side, and the first to end must not restore the others' BLAS
    _one_blas_thread()
    m_trim_threshold, m_mmap_threshold = -1, -3
    # another C library than glibc has nothing to be told
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(m_mmap_threshold, 32 * 2**20)
        libc.mallopt(m_trim_threshold, 128 * 2**20)


def peak_bytes() -> int:
    """Largest resident memory of this process so far.

    From /proc, because getrusage counts what the parent held when it forked; elsewhere the memory held now.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            line = next(line for line in status if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        return int(psutil.Process().memory_info().rss)
