"""The engine of a pair model with cutoffs: compiled steps over columns of particles, on any number of threads."""

from __future__ import annotations

import numpy as np

from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph
from hamfit.graphs.channels import pair_channels
from hamfit.inference.columns_engine import AbstractColumnsEngine
from hamfit.inference.laws import Law
from hamfit.integrators import Composition
from hamfit.kernels.counting import count_outside
from hamfit.kernels.lanes import LAW_COEFFICIENTS
from hamfit.kernels.pair_tables import Tables
from hamfit.kernels.stepping import LawRows, advance, observe_all
from hamfit.types import FloatArray, IntArray


class CutoffEngine(AbstractColumnsEngine):
    """Particles that meet within cutoffs, p/m velocities, an explicit composition."""

    def __init__(
        self,
        graph: CutoffGraph,
        laws: tuple[Law, ...],
        tables: Tables,
        extents: FloatArray,
        frame: Frame,
        rate: FloatArray,
        constant: float,
        method: Composition,
        dt: float,
        threads: int,
    ) -> None:
        super().__init__(graph, frame, rate, method, dt, threads)
        self._constant, self._extents = constant, np.array(extents)
        self._laws = law_rows(laws, tables, graph)
        forms = sorted({law.form for law in laws})
        self.description = f"pairs within cutoffs: {'; '.join(forms)}"

    def _steps(
        self, thread: int, counter: IntArray, moved: FloatArray, stage: int, n_stages: int, drifted: bool
    ) -> int:
        return int(
            advance(
                thread,
                self._threads,
                counter,
                moved,
                self._bodies,
                self._reach,
                self._laws,
                self._kicks,
                self._drifts,
                stage,
                n_stages,
                drifted,
                self._limit2,
            )
        )

    def _observed(self, chunks: FloatArray, count: IntArray) -> float:
        observe_all(self._bodies, self._reach, self._laws, chunks)
        count_outside(self._bodies, self._reach, self._laws, self._extents, count)
        return self._constant


def law_rows(laws: tuple[Law, ...], tables: Tables, graph: CutoffGraph) -> LawRows:
    """The laws of all channels, for the kernels."""
    channels: IntArray = pair_channels(len(graph.labels))
    longest = max(LAW_COEFFICIENTS, *(law.row.size for law in laws))
    rows = np.zeros((len(laws), longest))
    for c, law in enumerate(laws):
        rows[c, : law.row.size] = law.row
    return LawRows(
        channels,
        rows,
        np.array([int(law.inverse) for law in laws], dtype=np.int64),
        np.array([law.cutoff * law.cutoff for law in laws]),
        tables,
    )
