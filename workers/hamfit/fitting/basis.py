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
from dataclasses import dataclass
from typing import Any

import numpy as np

from hamfit.bundles import nested, within
from hamfit.features.block import AbstractBlock, Part
from hamfit.features.pooled import AbstractRadialBlock
from hamfit.features.radial import map_inverse, map_value
from hamfit.features.store import blocks_from_store, blocks_to_store
from hamfit.features.tables import RadialTable, build_table
from hamfit.reductions import Whitening
from hamfit.types import FloatArray

#: Tables reach this share of the range further than the survey saw, so that few edges need the slow way.
_MARGIN = 0.02


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
    energy_scale: float = 0.0
    """rms of the energies per particle; 0 when energies are no rows."""
    n_constants: int = 0
    """One constant column for each species where energies are rows, else 0."""

    @property
    def n_raw(self) -> int:
        """Raw features of all blocks."""
        return sum(block.n_columns for block in self.blocks)

    @property
    def n_columns(self) -> int:
        """Columns of the reduction: whitened or raw features, then constants."""
        return (self.n_raw if self.whitening is None else self.whitening.rank) + self.n_constants

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
        """Local columns to [whitened | constants | preliminary prediction], (n_local, n_columns + 1)."""
        if self.whitening is None:
            return None
        parts = []
        for position in range(len(self.blocks)):
            table = self.table(position)
            projection = self.projection(position)
            assert projection is not None
            parts.append(projection if table is None else table.lift)
        stacked = np.vstack(parts)
        constants = np.zeros((stacked.shape[0], self.n_constants))
        return np.ascontiguousarray(np.hstack([stacked, constants, (stacked @ self.whitening.preliminary)[:, None]]))

    def table_error(self) -> float:
        """Largest relative error of the tables; 0 without tables."""
        return max((table.error for table in self.tables if table is not None), default=0.0)


def whitened_basis(basis: PartBasis, whitening: Whitening, extents: Sequence[FloatArray | None]) -> PartBasis:
    """The basis with its columns whitened, and its radial blocks tabulated on the extents the survey saw."""
    tables: list[RadialTable | None] = []
    first = 0
    for block, extent in zip(basis.blocks, extents, strict=True):
        projection = whitening.projection[first : first + block.n_columns]
        first += block.n_columns
        if isinstance(block, AbstractRadialBlock) and extent is not None:
            reach = _table_extent(block, extent)
            tables.append(build_table(block.radial, reach, projection, whitening.preliminary))
        else:
            tables.append(None)
    return PartBasis(
        part=basis.part,
        blocks=basis.blocks,
        target_scale=basis.target_scale,
        whitening=whitening,
        tables=tuple(tables),
        energy_scale=basis.energy_scale,
        n_constants=basis.n_constants,
    )


def _table_extent(block: AbstractRadialBlock, extent: FloatArray) -> FloatArray:
    """Distances the table covers, (channels, 2): the survey's and a margin in the mapped distance; nan for no edges."""
    out = np.full_like(extent, np.nan)
    radial = block.radial
    for c, input_map in enumerate(radial.input_maps):
        ends = np.sort(map_value(input_map, extent[c]))
        if not np.all(np.isfinite(ends)):
            continue
        if ends[1] <= ends[0]:
            # one length only, as in a crystal at rest: the range the features were sampled for
            ends = np.array([radial.low[c], radial.high[c]])
        margin = _MARGIN * (ends[1] - ends[0])
        low, high = max(ends[0] - margin, 0.5 * ends[0], 0.0), ends[1] + margin
        distances = np.sort(map_inverse(input_map, np.array([low, high])))
        out[c] = np.minimum(distances, radial.cutoffs[c])
    return out


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
                "energy_scale": part.energy_scale,
                "n_constants": part.n_constants,
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
                    energy_scale=float(entry["energy_scale"]),
                    n_constants=int(entry["n_constants"]),
                )
            )
        return cls(tuple(parts), tuple(attrs["labels"]), tuple(attrs["bond_labels"]), str(attrs["reduction"]))


_WHITENING = ("projection", "spectrum", "preliminary")
_TABLE = ("maps", "low", "scale", "pieces", "first_column", "lift")


def _arrays(owner: object, names: Sequence[str]) -> dict[str, np.ndarray]:
    return {name: getattr(owner, name) for name in names}
