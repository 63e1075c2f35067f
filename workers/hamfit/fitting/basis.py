"""The columns that a fit streams: raw features, or their whitened combinations through tables.

A part is one of the two independent least-squares problems (rows of forces, rows of velocities). Its basis says how
the rows of a panel come about: every block writes *local* columns (B-splines of distances where a table exists, raw
features otherwise), and one matrix, ``lift``, turns the local columns of all blocks into the k whitened columns. The
last column of ``lift`` predicts the target by the preliminary solution, so that the same matrix product leaves the
residual of that solution, and the reduction works on small numbers: one step of iterative refinement for free.

A basis is plain data (blocks, tables, matrices), so that it can be stored beside the partial states of a running fit
and read by every worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from hamfit.bundles import nested, within
from hamfit.features.block import AbstractBlock, Part
from hamfit.features.registry import blocks_from_store, blocks_to_store
from hamfit.features.tables import RadialTable
from hamfit.fitting.frame_rows import FrameRows
from hamfit.reductions import Whitening
from hamfit.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class PartBasis:
    """Columns of one part of the problem."""

    part: Part
    """Which rows."""
    blocks: tuple[AbstractBlock, ...]
    """The blocks of this part."""
    target_scale: float
    """Targets are divided by this (their rms), and so are the coefficients."""
    whitening: Whitening | None = None
    """Basis change; None for raw columns."""
    tables: tuple[RadialTable | None, ...] = ()
    """Table of each block; None where the block's own rows are used."""
    frame_rows: tuple[FrameRows, ...] = ()
    """Rows that belong to whole frames."""

    @property
    def n_raw(self) -> int:
        """Raw features of all blocks."""
        return sum(block.n_columns for block in self.blocks)

    @property
    def n_features(self) -> int:
        """Whitened or raw features."""
        return self.n_raw if self.whitening is None else self.whitening.rank

    @property
    def n_own(self) -> int:
        """Columns that rows of frames have of their own."""
        return sum(rows.columns for rows in self.frame_rows)

    @property
    def n_columns(self) -> int:
        """Columns of the reduction: features, then those of rows of frames."""
        return self.n_features + self.n_own

    def first_own(self, rows: FrameRows) -> int:
        """First of the columns that rows of frames of one kind have of their own."""
        before = self.frame_rows[: self.frame_rows.index(rows)]
        return self.n_features + sum(other.columns for other in before)

    @property
    def local_widths(self) -> tuple[int, ...]:
        """Local columns of each block."""
        tables = self.tables or (None,) * len(self.blocks)
        return tuple(
            block.n_columns if table is None else table.n_local
            for block, table in zip(self.blocks, tables, strict=True)
        )

    def table(self, position: int) -> RadialTable | None:
        """Table of a block, if it has one."""
        return self.tables[position] if self.tables else None

    def projection(self, position: int) -> FloatArray | None:
        """Rows of the basis change that belong to one block, (its n_columns, k)."""
        if self.whitening is None:
            return None
        first = sum(block.n_columns for block in self.blocks[:position])
        return self.whitening.projection[first : first + self.blocks[position].n_columns]

    def lift(self) -> FloatArray | None:
        """Local columns to [whitened | of frames | preliminary prediction], (n_local, n_columns + 1)."""
        if self.whitening is None:
            return None
        parts = []
        for position in range(len(self.blocks)):
            table = self.table(position)
            projection = self.projection(position)
            assert projection is not None
            parts.append(projection if table is None else table.lift)
        stacked = np.vstack(parts)
        own = np.zeros((stacked.shape[0], self.n_own))
        return np.ascontiguousarray(np.hstack([stacked, own, (stacked @ self.whitening.preliminary)[:, None]]))

    def table_error(self) -> float:
        """Largest relative error of the tables; 0 without tables."""
        return max((table.error for table in self.tables if table is not None), default=0.0)


def whitened_basis(basis: PartBasis, whitening: Whitening, extents: Sequence[FloatArray | None]) -> PartBasis:
    """The basis with its columns whitened, and blocks tabulated on the extents the survey saw where they can be."""
    whitened = replace(basis, whitening=whitening)
    tables: list[RadialTable | None] = []
    for position, (block, extent) in enumerate(zip(basis.blocks, extents, strict=True)):
        projection = whitened.projection(position)
        assert projection is not None
        tables.append(None if extent is None else block.tabulate(extent, projection, whitening.preliminary))
    return replace(whitened, tables=tuple(tables))


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """Everything a worker needs beside the data to reduce a shard."""

    parts: tuple[PartBasis, ...]
    """The independent problems."""
    labels: tuple[str, ...]
    """Species of the model."""
    bond_labels: tuple[str, ...]
    """Bond types of the model."""
    reduction: str
    """Name of what their rows go through, as ``reduction_named`` knows it."""

    def to_store(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Attributes and arrays that ``from_store`` turns back into the same basis, bit for bit."""
        attrs: dict[str, Any] = {
            "labels": list(self.labels),
            "bond_labels": list(self.bond_labels),
            "reduction": self.reduction,
            "parts": [],
        }
        arrays: dict[str, np.ndarray] = {}
        for position, part in enumerate(self.parts):
            entries, own = blocks_to_store(part.blocks)
            entry: dict[str, Any] = {
                "part": part.part,
                "blocks": entries,
                "target_scale": part.target_scale,
                "frame_rows": [asdict(rows) for rows in part.frame_rows],
                "condition": None if part.whitening is None else repr(part.whitening.condition),
                "tables": [None if table is None else repr(table.error) for table in part.tables],
            }
            if part.whitening is not None:
                own |= nested("whitening", _arrays(part.whitening, _WHITENING))
            for index, table in enumerate(part.tables):
                if table is not None:
                    own |= nested(f"tables/{index}", _arrays(table, _TABLE))
            attrs["parts"].append(entry)
            arrays |= nested(f"parts/{position}", own)
        return attrs, arrays

    @classmethod
    def from_store(cls, attrs: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Basis:
        """The basis that ``to_store`` described."""
        parts = []
        for position, entry in enumerate(attrs["parts"]):
            own = within(f"parts/{position}", arrays)
            whitening = None
            if entry["condition"] is not None:
                whitening = Whitening(**within("whitening", own), condition=float(entry["condition"]))
            tables = tuple(
                None if error is None else RadialTable(**within(f"tables/{k}", own), error=float(error))
                for k, error in enumerate(entry["tables"])
            )
            parts.append(
                PartBasis(
                    part=entry["part"],
                    blocks=blocks_from_store(entry["blocks"], own),
                    target_scale=float(entry["target_scale"]),
                    whitening=whitening,
                    tables=tables,
                    frame_rows=tuple(FrameRows(**rows) for rows in entry["frame_rows"]),
                )
            )
        return cls(tuple(parts), tuple(attrs["labels"]), tuple(attrs["bond_labels"]), str(attrs["reduction"]))


_WHITENING = ("projection", "spectrum", "preliminary")
_TABLE = ("maps", "low", "scale", "pieces", "first_column", "lift")


def _arrays(owner: object, names: Sequence[str]) -> dict[str, np.ndarray]:
    return {name: getattr(owner, name) for name in names}
