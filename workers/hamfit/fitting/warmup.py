"""Every kernel of the fit compiled once, before several processes want them (``kernels.warming``)."""

from __future__ import annotations

from functools import cache

import numpy as np

from hamfit.features.registry import block_type
from hamfit.frames import Frame
from hamfit.kernels.warming import compiling_alone


@cache
def warm_up(kinds: tuple[str, ...]) -> None:
    """Compile, or load from the cache, every kernel that a shard of these blocks needs."""
    with compiling_alone():
        for kind in kinds:
            block_type(kind).warm_up(_FRAME)


_Q = np.array([[0.0, 0.0, 0.0], [1.0, 0.1, 0.0], [0.0, 1.1, 0.2], [0.9, 1.0, 1.2]])
_FRAME = Frame(
    q=_Q,
    species=np.zeros(4, dtype=np.int64),
    labels=("1",),
    masses=np.ones(4),
    box=5.0 * np.eye(3),
    periodic=(True, True, True),
    p=1.0 + 0.1 * _Q,
    bonds=np.array([[0, 1], [1, 2]]),
    bond_types=np.zeros(2, dtype=np.int64),
    bond_labels=("1",),
)
