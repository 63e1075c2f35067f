"""How a system of particles is cut into columns and chunks: sizes of everything, from its box and its density.

All of it depends on the system alone, never on the number of threads, so that neither does a result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hamfit.graphs.lattice import Lattice
from hamfit.inference.placing import at_page, row_width, window_place
from hamfit.kernels.bodies import Reach
from hamfit.kernels.columns import find_runs, sort_into_columns
from hamfit.kernels.lanes import RUN_WORDS
from hamfit.types import FloatArray, IntArray

#: Particles that a run should hold: long enough to fill vectors of eight, short enough to skip what is out of reach
#: (10,976 atoms of a Lennard-Jones liquid: columns of 1.5 to 2.5 are equally fast, 1.0 and 3.0 are not).
_RUN_PARTICLES = 16.0
#: Layers for each particle of a column: runs begin and end with layers, so thin ones waste little.
_LAYERS = 2
#: Chunks of the force sum, at most: as many threads can share the work.
_MOST_CHUNKS = 16
#: Thickness, over the reach, below which an open system counts as flat: its square is far below the reach's rounding.
_FLAT = 1e-9
#: From so many rows on there are a multiple of four of them, so that two or four threads have equally many (10,976
#: atoms, 11 rows, two threads: a tenth slower than 12).
_FEWEST_EVEN_ROWS = 6
#: Runs of one particle to make room for at first.
_FIRST_ROOM = 24


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The grid of one box, or of the bounding box of an open system."""

    lattice: Lattice
    """Lattice of the frame, completed to three vectors."""
    axes: IntArray
    """Lattice axes in the order rows, columns, height, (3,)."""
    low: FloatArray
    """Lowest fractional coordinate along ``axes``, (3,)."""
    span: FloatArray
    """Their range, (3,)."""
    shape: IntArray
    """Rows, columns in a row, layers, (3,)."""
    reach: FloatArray
    """Distance within which particles of two species must be found, (S, S)."""
    images: IntArray
    """Boxes that reach extends to along ``axes``, (3,)."""

    @classmethod
    def of(cls, lattice: Lattice, low: FloatArray, high: FloatArray, n: int, reach: FloatArray) -> Columns:
        """The grid for n particles whose fractional coordinates lie in low .. high, (3,) each."""
        low = np.where(lattice.periodic, 0.0, low)
        span = np.where(lattice.periodic, 1.0, high - low)
        # an open system as good as flat is cut as a flat one: there is nothing to gain from columns thin as rounding
        span = np.where(span * lattice.heights < _FLAT * float(reach.max()), 0.0, span)
        widths = lattice.heights * span
        # the longest side is the height of the columns
        axes = np.roll(np.arange(3), 2 - int(np.argmax(widths)))
        low, span, widths = low[axes], span[axes], widths[axes]
        periodic, heights = lattice.periodic[axes], lattice.heights[axes]
        most, n_species = float(reach.max()), reach.shape[0]
        thick = np.where(periodic, widths, np.maximum(widths, most))
        density = n / (n_species * abs(float(np.linalg.det(lattice.vectors / lattice.heights))) * float(np.prod(thick)))
        width = np.clip(np.sqrt(_RUN_PARTICLES / (1.5 * density * most)), 0.3 * most, most)
        shape = np.maximum(np.floor(widths / width), 1.0)
        shape[2] = 1.0
        # O(N) columns where particles are spread thinly
        while shape[0] * shape[1] > max(n, 1):
            shape = np.maximum(np.floor(0.9 * shape), 1.0)
        if shape[0] >= _FEWEST_EVEN_ROWS:
            shape[0] = 4.0 * np.round(shape[0] / 4.0)
        shape[2] = max(1, _LAYERS * n // (int(shape[0] * shape[1]) * n_species))
        images = np.ceil(np.divide(most * 1.0001, heights)).astype(np.int64) + 1
        return cls(lattice, axes, low, span, shape.astype(np.int64), reach, np.where(periodic, images, 0))

    @property
    def orthogonal(self) -> bool:
        """Whether the lattice vectors stand at right angles."""
        unit = self.lattice.vectors / np.linalg.norm(self.lattice.vectors, axis=1)[:, None]
        return bool(np.abs(unit @ unit.T - np.eye(3)).max() < 1e-12)

    def sort(self, s: FloatArray, species: IntArray) -> tuple[IntArray, IntArray]:
        """Order of the particles and first particle of each column; s (N, 3) along ``axes``."""
        order, columns = sort_into_columns(s, self.low, self.span, species, self.shape, self.reach.shape[0])
        return order, columns

    def chunked(self, columns: IntArray, n: int) -> tuple[IntArray, IntArray, IntArray, int]:
        """How the force sum is cut for n particles, of which ``columns`` says where each layer begins.

        Returns the rows where chunks begin (K + 1,), their windows (K, 4) as in ``Reach``, for each row where its
        chunk's window begins (rows,), and the size of all windows together.
        """
        rows, per_row = int(self.shape[0]), int(self.shape[1] * self.shape[2]) * self.reach.shape[0]
        first = columns[np.arange(rows + 1) * per_row]
        k = min(rows, _MOST_CHUNKS)
        begins = np.array([c * rows // k for c in range(k + 1)], dtype=np.int64)
        width0 = float(self.span[0] / rows * self.lattice.heights[self.axes][0])
        ahead = float(np.ceil(float(self.reach.max()) / width0)) if width0 > 0.0 else 0.0
        if self.lattice.periodic[self.axes[0]] == 0:
            ahead = min(ahead, rows)
        windows = np.zeros((k, 4), dtype=np.int64)
        origins = np.zeros(rows, dtype=np.int64)
        place = 0
        for c in range(k):
            begin, end = int(begins[c]), int(begins[c + 1]) + int(ahead)
            if self.lattice.periodic[self.axes[0]] == 0:
                end = min(end, rows)
            length = n if end - begin >= rows else int(first[min(end, rows)] - first[begin])
            if end > rows and length < n:
                length += int(first[end - rows])
            width, place = row_width(length), window_place(place, int(first[begin]))
            windows[c] = first[begin], length, place, width
            origins[begin : int(begins[c + 1])] = first[begin]
            place += 3 * width
        return begins, windows, origins, place


class Sorter:
    """Finds runs again and again for one system, in buffers that are kept."""

    def __init__(self) -> None:
        self._runs = np.zeros((0, 0, RUN_WORDS), dtype=np.int32)
        self._ends = np.zeros((0, 0), dtype=np.int32)
        self._forces = np.zeros(0)

    def reach(self, grid: Columns, s: FloatArray, columns: IntArray, share: Callable[..., None]) -> Reach:
        """Runs of sorted particles s (N, 3) along the grid's axes; valid until the next call.

        ``share(task, n)`` calls task(k) for k < n, on as many threads as it likes.
        """
        n, n_species = len(s), grid.reach.shape[0]
        begins, windows, origins, size = grid.chunked(columns, n)
        if self._forces.size < size:
            # a little more, so that small changes from one sorting to the next need no new pages
            self._forces = at_page(size + size // 8)
        if self._ends.shape != (n, n_species + 1):
            self._ends = np.zeros((n, n_species + 1), dtype=np.int32)
            self._runs = np.zeros((n, _FIRST_ROOM * n_species, RUN_WORDS), dtype=np.int32)
        heights = np.ascontiguousarray(grid.lattice.heights[grid.axes])
        periodic = np.ascontiguousarray(grid.lattice.periodic[grid.axes])
        while True:
            fits = [True] * len(windows)

            def task(k: int, fits: list[bool] = fits) -> None:
                fits[k] = find_runs(
                    s,
                    columns,
                    grid.low,
                    grid.span,
                    heights,
                    periodic,
                    grid.orthogonal,
                    grid.shape,
                    grid.reach,
                    grid.images,
                    origins,
                    int(begins[k]),
                    int(begins[k + 1]),
                    self._runs,
                    self._ends,
                )

            share(task, len(windows))
            if all(fits):
                break
            self._runs = np.zeros((n, 2 * self._runs.shape[1], RUN_WORDS), dtype=np.int32)
        rows = columns[begins * int(grid.shape[1] * grid.shape[2]) * n_species]
        return Reach(
            self._runs, self._ends, grid.lattice.translations(grid.images, grid.axes), rows, windows, self._forces
        )
