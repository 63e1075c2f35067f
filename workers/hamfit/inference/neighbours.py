"""Cutoff graphs of one system that moves a little from call to call: their lists are kept as long as they hold.

Neighbours within cutoff and skin are found once, by the graph's own cell list. Until some particle has moved half the
skin, every pair within the cutoff is among them, so lengths and vectors are all that is computed anew. Blocks that ask
for edges do not know the difference, and those of one graph share the lists.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hamfit.frames import Frame
from hamfit.graphs import AbstractGraph, AbstractGraphs, CutoffGraph, Edges, Prepared
from hamfit.graphs.channels import checked_species, pair_channels
from hamfit.graphs.cutoff import checked_edges
from hamfit.graphs.graph import padded_positions
from hamfit.graphs.lattice import Lattice
from hamfit.graphs.skin import moved_limit2, widened
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
    lattice: Lattice
    start: FloatArray
    """Positions at that time, (N, 3)."""
    images: IntArray
    order: IntArray
    rank: IntArray
    offsets: IntArray
    listed: Int32Array
    codes: Int32Array
    translations: FloatArray
    homes: IntArray

    def positions(self, frame: Frame, limit2: float) -> tuple[FloatArray, Int32Array] | None:
        """Positions in the box, (N, 3), and boxes passed since, (N,); None where the lists may lack a pair by now."""
        if frame.box is not self.box or len(frame.q) != len(self.start):
            return None
        x, moved, homes = _home(padded_positions(frame), self.start, self.lattice, self.images)
        return (x, (homes - self.homes).astype(np.int32)) if moved < limit2 else None


def _home(
    q: FloatArray, start: FloatArray, lattice: Lattice, images: IntArray
) -> tuple[FloatArray, float, IntArray]:
    """Positions in the box, the greatest squared distance from ``start``, and boxes, as ``bring_home`` has them."""
    x, homes = np.empty_like(q), np.empty(len(q), dtype=np.int64)
    moved = bring_home(q, start, lattice.vectors, lattice.inverse, lattice.periodic, images, x, homes)
    return x, moved, homes


class SkinGraphs(AbstractGraphs):
    """Graphs that remember; for the frames of one run, of which only the positions change."""

    def __init__(self) -> None:
        self._kept: list[tuple[CutoffGraph, _Lists]] = []

    def forget(self) -> None:
        """Find neighbours anew at the next frame, whatever has been."""
        self._kept.clear()

    def prepare(self, graph: AbstractGraph, frame: Frame) -> Prepared:
        """As ``graph.prepare``; within cutoffs order and edges are those of the last search, where they hold."""
        if not isinstance(graph, CutoffGraph):
            return graph.prepare(frame)
        skin = SKIN * graph.max_cutoff
        limit2 = moved_limit2(skin)
        lists = next((lists for known, lists in self._kept if known.is_like(graph)), None)
        now = None if lists is None else lists.positions(frame, limit2)
        if lists is None or now is None:
            self._kept = [(known, others) for known, others in self._kept if others is not lists]
            lists = self._search(graph, frame, skin)
            self._kept.append((graph, lists))
            now = lists.positions(frame, limit2)
            assert now is not None
        return PreparedLists(lists, *now, frame, graph)

    def _search(self, graph: CutoffGraph, frame: Frame, skin: float) -> _Lists:
        wide = CutoffGraph(graph.labels, widened(graph.cutoffs, skin))
        prepared = wide.prepare(frame)
        q, lattice = padded_positions(frame), Lattice.of(frame)
        # as far as what is listed now can go before the next search
        reach = np.ceil((wide.max_cutoff + skin) * 1.0001 / lattice.heights).astype(np.int64) + 1
        images = np.where(lattice.periodic == 1, reach, 0)
        x, _, homes = _home(q, q, lattice, images)
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
            lattice,
            q.copy(),
            images,
            prepared.order,
            rank,
            np.cumsum(np.concatenate(lengths)),
            np.concatenate(listed),
            np.concatenate(codes),
            lattice.translations(images),
            homes,
        )


class PreparedLists(Prepared):
    """Particles that were sorted into cells some time ago, with lists that still hold."""

    def __init__(self, lists: _Lists, x: FloatArray, passed: Int32Array, frame: Frame, graph: CutoffGraph) -> None:
        self.order = lists.order
        self._kernel_arguments = (
            lists.offsets,
            lists.rank,
            lists.listed,
            lists.codes,
            lists.translations,
            x,
            passed,
            checked_species(frame, graph.labels),
            graph.cutoffs**2,
            pair_channels(len(graph.labels)),
        )

    def edges(self, centres: IntArray) -> Edges:
        """Every neighbour of every centre within the cutoff; errors as those of ``CutoffGraph``'s cells."""
        found = near_edges(np.ascontiguousarray(centres, dtype=np.int64), *self._kernel_arguments)
        return checked_edges(found, len(self.order))
