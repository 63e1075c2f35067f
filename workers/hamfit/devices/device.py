"""What every device offers: arrays of a NumPy-like module, kernels launched by name, and how much memory there is.

Code written against this contract runs on an NVIDIA GPU (``CupyDevice``) and on this machine's processor
(``EmulatedDevice``), where tests execute the same CUDA source. Kernels are looked up in ``kernels/cuda``; every launch
is checked against the signature that stands there, so that a wrong type fails in Python and not on the GPU.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import numpy as np

from hamfit.devices.sources import Signature, signatures

DeviceArray: TypeAlias = Any
"""An array of the device's module ``xp``: cupy.ndarray or numpy.ndarray; shapes and dtypes as documented."""

#: Threads of a block unless a kernel asks for others.
BLOCK = 128


class DeviceMemoryFull(Exception):
    """The device has no room for an allocation; the caller takes smaller panels."""


class AbstractDevice(ABC):
    """Where arrays live and kernels run."""

    name: str
    """Name of the device, as reports and results give it."""
    kind: str
    """``cuda`` or ``emulated``."""
    xp: Any
    """The array module: cupy or numpy. Of its functions only those are used that both have."""
    shared_bytes: int
    """Shared memory that one block may ask for."""

    def __init__(self) -> None:
        self.turn = threading.RLock()
        """Held by the thread that computes: a device is shared by threads one panel at a time."""

    def launch(self, kernel: str, blocks: int, threads: int, *arguments: Any, shared_bytes: int = 0) -> None:
        """Start a kernel of ``kernels/cuda`` on ``blocks`` blocks of ``threads`` threads.

        Arguments are C-contiguous arrays of the device, with the dtypes of the kernel's pointers, and numbers. No block
        at all is nothing to do. Raises TypeError where an argument does not fit the signature.
        """
        if blocks > 0:
            self._start(kernel, blocks, threads, self._checked(signatures()[kernel], arguments), shared_bytes)

    def launch_each(self, kernel: str, count: int, *arguments: Any) -> None:
        """Start a kernel with one thread for each of ``count`` things, which is its last argument."""
        self.launch(kernel, -(-count // BLOCK), BLOCK, *arguments, count)

    def _checked(self, signature: Signature, arguments: tuple[Any, ...]) -> list[Any]:
        if len(arguments) != len(signature.parameters):
            raise TypeError(f"{signature.name} takes {len(signature.parameters)} arguments, not {len(arguments)}")
        checked: list[Any] = []
        for parameter, value in zip(signature.parameters, arguments, strict=True):
            if not parameter.is_pointer:
                checked.append(parameter.dtype.type(value))
                continue
            if not isinstance(value, self.xp.ndarray) or value.dtype != parameter.dtype:
                got = getattr(value, "dtype", type(value).__name__)
                raise TypeError(f"{signature.name}: {parameter.name} is {got}, not an array of {parameter.dtype}")
            if not value.flags.c_contiguous:
                raise TypeError(f"{signature.name}: {parameter.name} is not contiguous")
            checked.append(value)
        return checked

    @abstractmethod
    def _start(self, kernel: str, blocks: int, threads: int, arguments: list[Any], shared_bytes: int) -> None:
        """Start a kernel with checked arguments."""

    @abstractmethod
    def upload(self, array: np.ndarray) -> DeviceArray:
        """A copy on the device, C order."""

    @abstractmethod
    def download(self, array: DeviceArray) -> np.ndarray:
        """A copy on the host, once all that was started has made it."""

    @abstractmethod
    def total_bytes(self) -> int:
        """Memory of the device, taken or not: the same at all times, and on all devices of one kind."""

    @abstractmethod
    def release(self) -> None:
        """Give memory back that was freed and kept for reuse."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait for all that was started."""

    @abstractmethod
    def guarded(self) -> AbstractContextManager[None]:
        """A context in which running out of the device's memory is DeviceMemoryFull."""

    @abstractmethod
    def record(self, steps: Callable[[], None]) -> Callable[[], None]:
        """A function that repeats the launches of ``steps``, with the same arrays and numbers, as cheaply as it can.

        ``steps`` launches kernels only; it may or may not be run by recording it.
        """
