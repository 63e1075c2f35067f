"""An NVIDIA GPU through CuPy: kernels compiled by NVRTC, linear algebra by cuBLAS and cuSOLVER."""

from __future__ import annotations

import sys
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
        self._most_shared = int(properties["sharedMemPerBlockOptin"])
        self._module: Any = None
        self._functions: dict[str, Any] = {}

    def _start(self, kernel: str, blocks: int, threads: int, arguments: list[Any], shared_bytes: int) -> None:
        self._function(kernel, shared_bytes)((blocks,), (threads,), tuple(arguments), shared_mem=shared_bytes)

    def _function(self, kernel: str, shared_bytes: int) -> Any:
        if self._module is None:
            self._module = self.xp.RawModule(code=source(), options=("--std=c++17",))
        if kernel not in self._functions:
            self._functions[kernel] = self._module.get_function(kernel)
        function = self._functions[kernel]
        if shared_bytes > _PLAIN_SHARED_BYTES and function.max_dynamic_shared_size_bytes < shared_bytes:
            function.max_dynamic_shared_size_bytes = shared_bytes
        return function

    def upload(self, array: np.ndarray) -> DeviceArray:
        """See ``AbstractDevice.upload``."""
        return self.xp.asarray(np.ascontiguousarray(array))

    def download(self, array: DeviceArray) -> np.ndarray:
        """See ``AbstractDevice.download``."""
        host: np.ndarray = self.xp.asnumpy(array)
        return host

    def free_bytes(self) -> int:
        """What the driver has left and what CuPy's pool, or RMM's, holds unused."""
        free, _ = self.xp.cuda.runtime.memGetInfo()
        return int(free) + int(self.xp.get_default_memory_pool().free_bytes()) + _unused_of_rmm()

    @property
    def shared_bytes(self) -> int:
        """See ``AbstractDevice.shared_bytes``."""
        return self._most_shared

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

    def record(self, steps: Callable[[], None]) -> Callable[[], None]:
        """A CUDA graph of the launches: one call for the driver instead of one for each kernel."""
        stream = self.xp.cuda.Stream(non_blocking=True)
        # the module is compiled, and functions are looked up, before anything is captured
        for kernel in self._functions:
            self._function(kernel, 0)
        self.synchronize()
        with stream:
            stream.begin_capture()
            steps()
            graph = stream.end_capture()

        def replay() -> None:
            # in the order of all else: on the stream that the caller works on
            graph.launch(self.xp.cuda.get_current_stream())

        return replay


def _unused_of_rmm() -> int:
    """What a pool of RMM holds unused, where CuPy takes memory from it and it counts what it gave."""
    rmm = sys.modules.get("rmm")
    counted = None if rmm is None else rmm.mr.get_current_device_resource()
    if rmm is None or not isinstance(counted, rmm.mr.TrackingResourceAdaptor):
        return 0
    pool = counted.get_upstream()
    return int(pool.pool_size() - counted.get_allocated_bytes()) if isinstance(pool, rmm.mr.PoolMemoryResource) else 0
