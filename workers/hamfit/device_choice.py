"""What may compute: the words of options and of HAMFIT_DEVICE, known without loading anything numerical."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

DeviceChoice: TypeAlias = Literal["auto", "cpu", "cuda", "emulated"]
CHOICES: tuple[DeviceChoice, ...] = get_args(DeviceChoice)
