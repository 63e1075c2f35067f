"""Where arrays live and kernels run beside the processor.

device       the contract: a NumPy-like module, launches by name, memory
cuda         an NVIDIA GPU through CuPy
emulated     the same CUDA source on the processor, for tests without a GPU
sources      the source and its signatures
choosing     which device a process uses
"""

from hamfit.device_choice import DeviceChoice
from hamfit.devices.device import AbstractDevice, DeviceArray, DeviceMemoryFull
from hamfit.devices.selection import choose_device, device_for

__all__ = ["AbstractDevice", "DeviceArray", "DeviceChoice", "DeviceMemoryFull", "choose_device", "device_for"]
