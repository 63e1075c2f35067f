"""The CUDA source of the kernels, and the signatures that stand in it.

All files of ``kernels/cuda`` make one translation unit, ``common.cu`` first. A kernel is written as
``extern "C" __global__ void name(...)``; its parameters are pointers to and values of the types below. Dynamic shared
memory is always ``extern __shared__ double tile[]``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parents[1] / "kernels" / "cuda"

_TYPES: Mapping[str, np.dtype[np.generic]] = {
    "double": np.dtype(np.float64),
    "float": np.dtype(np.float32),
    "long long": np.dtype(np.int64),
    "int": np.dtype(np.int32),
}
_KERNEL = re.compile(r'extern "C" __global__ void\s+(\w+)\s*\(([^)]*)\)')


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a kernel."""

    name: str
    """Its name."""
    dtype: np.dtype[np.generic]
    """Its type, or that of what it points to."""
    is_pointer: bool
    """Whether it is an array."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a kernel takes."""

    name: str
    """Its name."""
    parameters: tuple[Parameter, ...]
    """Its parameters in order."""
    has_barriers: bool
    """Whether its threads wait for each other."""


@cache
def source() -> str:
    """The whole translation unit."""
    files = sorted(FOLDER.glob("*.cu"), key=lambda path: (path.name != "common.cu", path.name))
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


@cache
def signatures() -> Mapping[str, Signature]:
    """All kernels by name."""
    text = re.sub(r"//[^\n]*", "", source())
    found = list(_KERNEL.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    return {
        match[1]: Signature(
            match[1],
            tuple(_parameter(part) for part in match[2].split(",")),
            "__syncthreads" in text[match.end() : end],
        )
        for match, end in zip(found, ends, strict=True)
    }


def _parameter(text: str) -> Parameter:
    words = text.replace("*", " * ").replace("__restrict__", " ").replace("const", " ").split()
    kind = " ".join(word for word in words[:-1] if word != "*")
    return Parameter(words[-1], _TYPES[kind], "*" in words)
