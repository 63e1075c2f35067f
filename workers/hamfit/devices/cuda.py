"""An NVIDIA GPU through CuPy: kernels compiled by NVRTC, linear algebra by cuBLAS and cuSOLVER."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from hamfit.devices.device import AbstractDevice, DeviceArray, DeviceMemoryFull
from hamfit.devices.sources import source
from hamfit.errors import DeviceError

_INSTALL = "install hamfit[gpu] on a machine with an NVIDIA driver, or use the device cpu"
#: Shared memory of a block that every GPU grants without being asked for more.
_PLAIN_SHARED_BYTES = 48 * 1024
#: What cuBLAS, cuSOLVER and the driver say when there is no memory for a handle, a workspace or a module.
_NO_ROOM = ("alloc_failed", "out of memory", "memoryallocation", "not_initialized")


class CupyDevice(AbstractDevice):
    """The GPU that CuPy uses."""

    kind = "cuda"

    def __init__(self) -> None:
        super().__init__()
        try:
            import cupy
        except ImportError as error:
            raise DeviceError(f"CuPy cannot be imported ({error}): {_INSTALL}") from None
        try:
            properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise DeviceError(f"no GPU can be used ({error}): {_INSTALL}") from None
        self.xp = cupy
        self.name = properties["name"].decode()
        self.shared_bytes = int(properties["sharedMemPerBlockOptin"])
        self._functions: dict[str, Any] = {}
        try:
            # all that a fit will want of CUDA, so that what is missing is missed now
            self._module = cupy.RawModule(code=source(), options=("--std=c++17",))
            self._module.compile()
            cupy.ones((2, 2)) @ cupy.ones((2, 2))
            self.synchronize()
        except Exception as error:
            # whatever CuPy, NVRTC, cuBLAS and the driver have to say
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise DeviceError(f"{self.name} is there, but CuPy cannot compute on it ({reason}): {_INSTALL}") from None

    def _start(self, kernel: str, blocks: int, threads: int, arguments: list[Any], shared_bytes: int) -> None:
        if kernel not in self._functions:
            self._functions[kernel] = self._module.get_function(kernel)
        function = self._functions[kernel]
        if shared_bytes > _PLAIN_SHARED_BYTES and function.max_dynamic_shared_size_bytes < shared_bytes:
            function.max_dynamic_shared_size_bytes = shared_bytes
        function((blocks,), (threads,), tuple(arguments), shared_mem=shared_bytes)

    def upload(self, array: np.ndarray) -> DeviceArray:
        """See ``AbstractDevice.upload``."""
        return self.xp.asarray(np.ascontiguousarray(array))

    def download(self, array: DeviceArray) -> np.ndarray:
        """See ``AbstractDevice.download``."""
        host: np.ndarray = self.xp.asnumpy(array)
        return host

    def total_bytes(self) -> int:
        """See ``AbstractDevice.total_bytes``."""
        return int(self.xp.cuda.runtime.memGetInfo()[1])

    def release(self) -> None:
        """See ``AbstractDevice.release``."""
        self.xp.get_default_memory_pool().free_all_blocks()

    def synchronize(self) -> None:
        """See ``AbstractDevice.synchronize``."""
        self.xp.cuda.get_current_stream().synchronize()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """See ``AbstractDevice.guarded``."""
        try:
            yield
        except MemoryError as error:
            # CuPy's own is one; RMM raises the plain one
            raise DeviceMemoryFull(str(error)) from None
        except Exception as error:
            if not type(error).__module__.startswith("cupy"):
                raise
            # handles and workspaces of libraries lie outside the pool
            if any(word in str(error).lower() for word in _NO_ROOM):
                raise DeviceMemoryFull(str(error)) from None
            raise DeviceError(f"{self.name} failed ({error}): start the process anew, or use the device cpu") from error

    def record(self, steps: Callable[[], None]) -> Callable[[], None]:
        """A CUDA graph of the launches: one call for the driver instead of one for each kernel."""
        stream = self.xp.cuda.Stream(non_blocking=True)
        # what the steps launch must have been launched before: nothing is compiled or allocated while capturing
        self.synchronize()
        with stream:
            stream.begin_capture()
            try:
                steps()
            finally:
                # also after a failure: the stream would go on capturing
                graph = stream.end_capture()

        def replay() -> None:
            # in the order of all else: on the stream that the caller works on
            graph.launch(self.xp.cuda.get_current_stream())

        return replay
