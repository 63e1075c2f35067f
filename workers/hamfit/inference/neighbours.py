"""A cutoff graph for one system that moves a little from call to call: its lists are kept as long as they hold.

Neighbours within cutoff and skin are found once, by the graph's own cell list. Until some particle has moved half the
skin, every pair within the cutoff is among them, so lengths and vectors are all that is computed anew. Blocks that ask
for edges do not know the difference, and those of one model share the lists.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from hamfit.features.block import AbstractBlock
from hamfit.features.manybody import ManyBodyBlock
from hamfit.features.pair import PairBlock
from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph, Edges
from hamfit.graphs.channels import checked_species, pair_channels
from hamfit.graphs.cutoff import PreparedCells
from hamfit.graphs.graph import coincident, no_such_centre, padded_positions
from hamfit.graphs.lattice import Lattice
from hamfit.kernels.cells import OK, OUT_OF_RANGE, wrap
from hamfit.kernels.columns import Int32Array
from hamfit.kernels.skin import bring_home, near_edges, translation_codes
from hamfit.types import FloatArray, IntArray

#: Skin over the greatest cutoff: crystals and liquids need new lists every twenty steps or so, and lists are a third
#: longer. Arbitrary, and not critical.
SKIN = 0.1
#: Centres whose neighbours are looked for together.
_PANEL = 4096


@dataclass(frozen=True, slots=True, eq=False)
class _Lists:
    """Neighbours within cutoff and skin at one time; see ``kernels.skin.near_edges``."""

    box: FloatArray | None
    start: FloatArray
    """Positions at that time, (N, d)."""
    order: IntArray
    rank: IntArray
    offsets: IntArray
    listed: Int32Array
    codes: Int32Array
    translations: FloatArray
    homes: FloatArray

    def positions(self, frame: Frame, limit2: float) -> FloatArray | None:
        """The frame's positions in the box of that time, (N, 3); None where the lists may lack a pair by now."""
        if frame.box is not self.box or frame.q.shape != self.start.shape:
            return None
        x = np.zeros((len(frame.q), 3))
        return x if bring_home(frame.q, self.start, self.homes, x) < limit2 else None


@dataclass(frozen=True, slots=True, eq=False)
class SkinGraph(CutoffGraph):
    """A cutoff graph that remembers; for the frames of one run, of which only the positions change."""

    _kept: list[_Lists] = field(default_factory=list, init=False, repr=False)

    @classmethod
    def of(cls, graph: CutoffGraph) -> SkinGraph:
        """The same graph, with a memory of its own."""
        return cls(graph.labels, graph.cutoffs)

    def forget(self) -> None:
        """Find neighbours anew at the next frame, whatever has been."""
        self._kept.clear()

    def prepare(self, frame: Frame) -> PreparedCells:
        """As ``CutoffGraph.prepare``; order and edges are those of the last search, where they hold."""
        skin = SKIN * self.max_cutoff
        # rounding of positions in the box must not hide a pair
        limit2 = (0.5 * skin) ** 2 * (1.0 - 1e-9)
        x = self._kept[0].positions(frame, limit2) if self._kept else None
        if x is None:
            self._kept[:] = [self._search(frame, skin)]
            x = self._kept[0].positions(frame, limit2)
            assert x is not None
        return PreparedLists(self._kept[0], x, frame, self)

    def _search(self, frame: Frame, skin: float) -> _Lists:
        wide = CutoffGraph(self.labels, np.where(self.cutoffs > 0.0, self.cutoffs * (1.0 + 1e-9) + skin, 0.0))
        prepared = wide.prepare(frame)
        q, lattice = padded_positions(frame), Lattice.of(frame)
        x, *_ = wrap(q, lattice.vectors, lattice.inverse, lattice.periodic)
        reach = np.ceil(wide.max_cutoff * 1.0001 / lattice.heights).astype(np.int64) + 1
        images = np.where(lattice.periodic == 1, reach, 0)
        lengths, listed, codes = [np.zeros(1, dtype=np.int64)], [], []
        for start in range(0, len(q), _PANEL):
            centres = prepared.order[start : start + _PANEL]
            edges = prepared.edges(centres)
            code = np.empty(edges.n_edges, dtype=np.int32)
            translation_codes(centres, edges.offsets, edges.neighbour, edges.vector, x, lattice.inverse, images, code)
            lengths.append(np.diff(edges.offsets))
            listed.append(edges.neighbour.astype(np.int32))
            codes.append(code)
        rank = np.empty(len(q), dtype=np.int64)
        rank[prepared.order] = np.arange(len(q))
        return _Lists(
            frame.box,
            frame.q.copy(),
            prepared.order,
            rank,
            np.cumsum(np.concatenate(lengths)),
            np.concatenate(listed),
            np.concatenate(codes),
            lattice.translations(images),
            q - x,
        )


class PreparedLists(PreparedCells):
    """Particles that were sorted into cells some time ago, with lists that still hold."""

    __slots__ = ()

    def __init__(self, lists: _Lists, x: FloatArray, frame: Frame, graph: CutoffGraph) -> None:
        super().__init__(
            lists.order,
            (
                lists.offsets,
                lists.rank,
                lists.listed,
                lists.codes,
                lists.translations,
                x,
                checked_species(frame, graph.labels),
                graph.cutoffs**2,
                pair_channels(len(graph.labels)),
            ),
        )

    def edges(self, centres: IntArray) -> Edges:
        """Every neighbour of every centre within the cutoff; errors as ``PreparedCells.edges``."""
        centres = np.ascontiguousarray(centres, dtype=np.int64)
        offsets, neighbour, vector, distance, channel, verdict = near_edges(centres, *self._kernel_arguments)
        if verdict[0] != OK:
            first, second = verdict.tolist()
            if first == OUT_OF_RANGE:
                raise no_such_centre(second, len(self._order))
            raise coincident(first, second)
        return Edges(offsets, neighbour, vector, distance, channel)


def with_skins(blocks: tuple[AbstractBlock, ...]) -> tuple[tuple[AbstractBlock, ...], tuple[SkinGraph, ...]]:
    """The blocks with graphs that remember, one for all that join the same particles; and those graphs."""
    skins: list[SkinGraph] = []

    def remembering(graph: CutoffGraph) -> SkinGraph:
        for known in skins:
            if known.labels == graph.labels and np.array_equal(known.cutoffs, graph.cutoffs):
                return known
        skins.append(SkinGraph.of(graph))
        return skins[-1]

    changed: list[AbstractBlock] = []
    for block in blocks:
        if isinstance(block, ManyBodyBlock):
            changed.append(replace(block, graph=remembering(block.graph)))
        elif isinstance(block, PairBlock) and isinstance(block.graph, CutoffGraph):
            changed.append(PairBlock(block.radial, remembering(block.graph)))
        else:
            changed.append(block)
    return tuple(changed), tuple(skins)
