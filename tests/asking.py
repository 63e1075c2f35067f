"""What a block says of a frame that is prepared for it alone."""

from __future__ import annotations

import numpy as np

from hamfit.features.block import AbstractBlock
from hamfit.frames import Frame
from hamfit.types import FloatArray, IntArray


def rows_of(block: AbstractBlock, frame: Frame, centres: IntArray | None = None) -> FloatArray:
    """Rows of the centres, or of all particles as they are numbered."""
    everyone = np.arange(frame.n_particles, dtype=np.int64)
    return block.rows(block.prepare(frame), everyone if centres is None else centres)


def features_of(block: AbstractBlock, frame: Frame) -> FloatArray:
    """Pooled features."""
    return block.features(block.prepare(frame))


def energy_of(block: AbstractBlock, frame: Frame, theta: FloatArray) -> float:
    """The energy alone."""
    return block.energy_and_gradient(block.prepare(frame), theta)[0]


def gradient_of(block: AbstractBlock, frame: Frame, theta: FloatArray) -> FloatArray:
    """The gradient alone."""
    return block.energy_and_gradient(block.prepare(frame), theta)[1]
