"""The learned V(r) of each kind of pair, beside the true one where it is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hamfit.model import Model
from hamfit.systems.truth import Truth
from hamfit.types import FloatArray

_POINTS = 400


@dataclass(frozen=True, slots=True, eq=False)
class PairCurve:
    """V(r) of one channel of the pair block over the distances seen in training."""

    channel: str
    """Bond type, or pair of species."""
    r: FloatArray
    """Distances, (n,)."""
    learned: FloatArray
    """(n,)."""
    true: FloatArray | None
    """(n,), or None where the truth is unknown."""
    aligned: bool
    """Whether the mean of the learned curve was set to that of the true one: forces leave the constant open."""

    @property
    def largest_difference(self) -> float | None:
        """max |learned - true| over the range of the true values; None where the truth is unknown or constant."""
        if self.true is None or np.ptp(self.true) == 0.0:
            return None
        return float(np.abs(self.learned - self.true).max() / np.ptp(self.true))


def pair_curves(model: Model, truth: Truth | None) -> tuple[PairCurve, ...]:
    """The curves of all channels that training saw.

    A channel with a cutoff has V = 0 there, so its constant is known. One without (bonds, gravity) is known up to a
    constant, which is chosen to fit the true curve best where there is one, and else to make its smallest value zero.
    """
    laws = {} if truth is None else truth.pair_laws
    curves = []
    for block, theta in zip(model.blocks, model.theta, strict=True):
        functions = block.pair_functions
        if functions is None:
            continue
        extents = model.extent_of(block, functions.radial.n_channels)
        for channel, (label, extent) in enumerate(zip(functions.graph.channel_labels, extents, strict=True)):
            if not (np.isfinite(extent).all() and extent[1] > extent[0]):
                continue
            r = np.linspace(extent[0], extent[1], _POINTS)
            learned = functions.radial.contract(r, np.full(r.size, channel, dtype=np.int64), theta)[0]
            true = laws[label](r) if label in laws else None
            is_open = not np.isfinite(functions.radial.cutoffs[channel])
            if is_open:
                learned = learned - float(learned.min() if true is None else np.mean(learned - true))
            curves.append(PairCurve(label, r, learned, true, aligned=is_open and true is not None))
    return tuple(curves)
