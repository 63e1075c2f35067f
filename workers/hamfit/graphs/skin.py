"""Lists of neighbours that hold while nobody has moved far: the one measure of how wide they are, and for how long.

Whoever searches and whoever decides that a search still holds must agree to the last bit, or a pair is hidden. So both
ask here, on the processor and for a device.
"""

from __future__ import annotations

import numpy as np

from hamfit.types import FloatArray

#: Room for what positions lose when they are put into the box: rounding must not hide a pair.
_ROUNDING = 1e-9


def widened(cutoffs: FloatArray, skin: float) -> FloatArray:
    """Within which distance pairs are listed, for each cutoff; zero, no pairs at all, stays zero."""
    return np.where(cutoffs > 0.0, cutoffs * (1.0 + _ROUNDING) + skin, 0.0)


def moved_limit2(skin: float) -> float:
    """Square of how far each particle may be from where it was listed: two that approach use up the skin together."""
    return (0.5 * skin) ** 2 * (1.0 - _ROUNDING)
