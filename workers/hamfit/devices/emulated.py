"""The CUDA source compiled for this machine's processor: the same kernels, executed where there is no GPU.

g++ compiles ``kernels/cuda`` with the header ``emulated.h``, which gives CUDA's words a meaning: blocks run one after
the other, and the threads of a block too, in an order that is shuffled and changes at every barrier, so that a kernel
that lacks a barrier gives wrong numbers here. Products and sums are fused wherever the compiler can, as NVRTC does, so
that what was to be the same bits, and is not there, differs here too. Array code runs on NumPy. What this does not
cover: CuPy and the driver, real races between blocks, cuBLAS and cuSOLVER, CUDA graphs, and speed.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from llvmlite.binding import get_host_cpu_features

from hamfit.devices.device import AbstractDevice, DeviceArray, DeviceMemoryFull
from hamfit.devices.sources import Signature, signatures, source
from hamfit.errors import DeviceError

_HEADER = Path(__file__).with_name("emulated.h")
_FLAGS = ("-x", "c++", "-std=c++17", "-O2", "-ffp-contract=fast", "-shared", "-fPIC", "-w")


class EmulatedDevice(AbstractDevice):
    """The processor, as if it were a GPU with ``memory_bytes`` of memory for one launch (by default all there is)."""

    kind = "emulated"
    name = "emulated GPU"
    shared_bytes = 96 * 1024  # as the header has it

    def __init__(self, memory_bytes: int | None = None) -> None:
        super().__init__()
        self.xp = _Arrays()
        self._library = ctypes.CDLL(str(_compiled()))
        self._memory_bytes = memory_bytes

    def _start(self, kernel: str, blocks: int, threads: int, arguments: list[Any], shared_bytes: int) -> None:
        if shared_bytes > self.shared_bytes:
            raise TypeError(f"{kernel} asks for {shared_bytes} bytes of shared memory; a block has {self.shared_bytes}")
        held = sum(value.nbytes for value in arguments if isinstance(value, np.ndarray))
        if self._memory_bytes is not None and held > self._memory_bytes:
            raise DeviceMemoryFull(f"{kernel} works on {held} bytes of {self._memory_bytes}")
        converted = [_as_c(value) for value in arguments]
        with self.turn:
            # the header holds the place of the running thread in global variables
            getattr(self._library, f"launch_{kernel}")(ctypes.c_int(blocks), ctypes.c_int(threads), *converted)

    def upload(self, array: np.ndarray) -> DeviceArray:
        """See ``AbstractDevice.upload``."""
        return np.array(array, order="C")

    def download(self, array: DeviceArray) -> np.ndarray:
        """See ``AbstractDevice.download``."""
        return np.array(array)

    def total_bytes(self) -> int:
        """See ``AbstractDevice.total_bytes``."""
        return int(psutil.virtual_memory().total) if self._memory_bytes is None else self._memory_bytes

    def release(self) -> None:
        """Nothing is kept."""

    def synchronize(self) -> None:
        """Launches have ended when they return."""

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """See ``AbstractDevice.guarded``."""
        try:
            yield
        except MemoryError as error:
            raise DeviceMemoryFull(str(error)) from None

    def record(self, steps: Callable[[], None]) -> Callable[[], None]:
        """The steps themselves."""
        return steps


class _Arrays:
    """NumPy, but that memory which is not set is full of what no sum survives: a fresh page of the system is zero."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def empty(self, shape: Any, dtype: Any = np.float64, **others: Any) -> np.ndarray:
        """As ``numpy.empty``."""
        return _spoilt(np.empty(shape, dtype, **others))

    def empty_like(self, prototype: np.ndarray, **others: Any) -> np.ndarray:
        """As ``numpy.empty_like``."""
        return _spoilt(np.empty_like(prototype, **others))


def _spoilt(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "f":
        array.fill(np.nan)
    elif array.dtype.kind == "i":
        array.fill(np.iinfo(array.dtype).max)
    return array


def _as_c(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return ctypes.c_void_p(value.ctypes.data)
    return np.ctypeslib.as_ctypes_type(value.dtype)(value.item())


def _compiled() -> Path:
    """The library, from the cache or compiled now; DeviceError without a compiler."""
    code = "\n".join(
        ['#include "emulated.h"', source(), *(_launcher(signature) for signature in signatures().values()), ""]
    )
    # what other processors always have must be asked for on this kind, and is not on every one
    flags = (*_FLAGS, "-mfma") if get_host_cpu_features().get("fma") else _FLAGS
    digest = hashlib.sha256("\0".join((code, _HEADER.read_text(encoding="utf-8"), *flags)).encode()).hexdigest()
    name = f"emulated-{digest[:24]}.so"
    folder = _cache_holding(name)
    library = folder / name
    if library.exists():
        return library
    compiler = shutil.which("g++")
    if compiler is None:
        raise DeviceError("there is no g++ to compile the kernels with: install it, or use the device cpu")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        written, made = Path(scratch) / "kernels.cpp", Path(scratch) / "kernels.so"
        written.write_text(code, encoding="utf-8")
        command = [compiler, *flags, "-I", str(_HEADER.parent), str(written), "-o", str(made)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise DeviceError(f"the kernels cannot be compiled for the processor: {done.stderr[:2000]}")
        # whole or not at all, however many processes compile at once
        os.replace(made, library)
    return library


def _cache_holding(name: str) -> Path:
    """The folder with a compiled library, or where it can be kept: the user's cache, or else one of temporary files."""
    # a user may have no home, or one that cannot be searched
    with suppress(OSError, RuntimeError):
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hamfit"
        if (home / name).exists():
            return home
        home.mkdir(parents=True, exist_ok=True)
        if os.access(home, os.W_OK):
            return home
    mine = Path(tempfile.gettempdir()) / f"hamfit-{os.getuid()}"
    with suppress(OSError):
        mine.mkdir(mode=0o700, exist_ok=True)
        found = mine.lstat()
        # of this user alone, and no link: what lies there is loaded as code
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return mine
    raise DeviceError(
        f"compiled kernels can be kept neither in the user's cache nor in {mine}, which must be a folder of this user"
        " alone: set XDG_CACHE_HOME to one that can be written"
    )


def _launcher(signature: Signature) -> str:
    """C++ that calls a kernel for every thread of every block."""
    names = {"float64": "double", "float32": "float", "int64": "long long", "int32": "int"}
    parameters = "".join(f", {names[p.dtype.name]} {'*' if p.is_pointer else ''}{p.name}" for p in signature.parameters)
    call = f"{signature.name}({', '.join(p.name for p in signature.parameters)})"
    run = "emulated::run_with_barriers" if signature.has_barriers else "emulated::run"
    return (
        f'extern "C" void launch_{signature.name}(int blocks_, int threads_{parameters}) '
        f"{{ {run}(blocks_, threads_, [&]() {{ {call}; }}); }}"
    )
