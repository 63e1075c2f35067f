"""Where the arrays of a step lie in memory.

A processor tells whether a load must wait for an earlier store by the lower twelve bits of their addresses. Where the
same element of the positions and of the forces agree in these, every load of positions waits for the stores of forces
just before it, and a step takes up to 1.8 times as long. So rows begin at multiples of a page plus a stagger of
their own: the three of the positions, then the three of a window of forces, each 640 bytes after the one before.
"""

from __future__ import annotations

import numpy as np

from hamfit.kernels.emitter import LANES
from hamfit.types import FloatArray

#: Numbers of eight bytes that a page of 4096 bytes holds.
PAGE = 512
#: Numbers between the places of two rows within a page; longer than a run, and six of them fit.
_STAGGER = 80


def row_width(n: int) -> int:
    """Numbers in a row for n particles: room for the spare lanes, and one stagger more than whole pages."""
    width = n + LANES
    return width + (_STAGGER - width) % PAGE


def window_place(earliest: int, origin: int) -> int:
    """The first place from ``earliest`` on for a window that begins with particle ``origin``: behind the positions."""
    return earliest + (3 * _STAGGER + origin - earliest) % PAGE


def at_page(n: int) -> FloatArray:
    """n zeros, the first of them at the beginning of a page."""
    room = np.zeros(n + PAGE)
    first = -(room.ctypes.data // room.itemsize) % PAGE
    return room[first : first + n]


def rows(n: int) -> FloatArray:
    """Three rows of zeros for n particles and their spare lanes, (3, row_width(n))."""
    width = row_width(n)
    return at_page(3 * width).reshape(3, width)
