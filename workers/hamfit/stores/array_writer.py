"""Writing one Zarr v3 array by appending rows: each chunk goes to disk when it is full, with its checksum.

The layout is that of `zarr_array`. A writer can be taken up by another process where it was at some earlier time: all
it needs is what `progress` gave then, and the chunk files.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from hamfit.errors import StoreError
from hamfit.stores.disk import write_bytes
from hamfit.stores.zarr_array import CRC_BYTES, ArrayEntry, NumericArray, StoredArray, array_document, chunk_shape

_MANY_ROWS = 2**62
"""More than an array has: chunks are made before it is known how many it will have."""


def full_chunks(key: str, row_shape: tuple[int, ...], dtype: str, crcs: Sequence[str]) -> ArrayEntry:
    """An entry for the full chunks of an array that is being written, which have these checksums."""
    chunks = chunk_shape((_MANY_ROWS, *row_shape))
    beside = math.prod(-(-n // c) for n, c in zip(row_shape, chunks[1:], strict=True))
    # without the digest of the content: each chunk is checked against its own checksum
    return ArrayEntry(key, (len(crcs) // beside * chunks[0], *row_shape), chunks, dtype, "", tuple(crcs))


def whole_array(root: Path, key: str, shape: tuple[int, ...], dtype: str) -> StoredArray:
    """An array that was written at once, before there is a manifest: checked against the checksum in each chunk.

    Raises StoreError when a chunk cannot be read.
    """
    entry = ArrayEntry(key, shape, chunk_shape(shape), dtype, "", ())
    crcs = []
    for index in np.ndindex(*entry.grid):
        try:
            stored = (root / key / entry.chunk_name(tuple(map(int, index)))).read_bytes()[-CRC_BYTES:]
        except OSError as error:
            raise StoreError(f"{root}: {key} cannot be read ({error.strerror}): write it again") from error
        crcs.append(f"{int.from_bytes(stored, 'little'):08x}")
    return StoredArray(root, replace(entry, crc32c=tuple(crcs)))


@dataclass(slots=True)
class ArrayWriter:
    """Appends rows (along the first axis) to one array and writes each chunk as soon as it is full.

    `folder` must exist. `n_rows` unknown is allowed: the array ends where appending ends. Memory: one chunk, and two
    more while it is written.
    """

    folder: Path
    key: str
    dimension_names: tuple[str, ...]
    row_shape: tuple[int, ...]
    dtype: str = "float64"
    attributes: Mapping[str, Any] = field(default_factory=dict)
    _pending: list[NumericArray] = field(default_factory=list)
    _n_pending: int = 0
    _n_rows: int = 0
    _n_chunk_rows: int = 0
    _crcs: list[str] = field(default_factory=list)
    _sha: Any = field(default_factory=hashlib.sha256)

    @property
    def _rows_per_chunk(self) -> int:
        return chunk_shape((_MANY_ROWS, *self.row_shape))[0]

    def append(self, rows: npt.ArrayLike) -> None:
        """Add rows of shape (k, *row_shape); their values are copied or written before this returns."""
        block = self._digest(rows)
        start = 0
        while start < len(block):
            stop = min(len(block), start + self._rows_per_chunk - self._n_pending)
            part = block[start:stop]
            full = self._n_pending + len(part) == self._rows_per_chunk
            # Rows kept for later are copied: the caller may reuse the buffer it passed.
            self._pending.append(part if full else part.copy())
            self._n_pending += len(part)
            # Joined two by two, like the digits of a binary counter: a million rows, appended one by one, would be
            # a million arrays, each larger than its row. A row is copied log2(rows of a chunk) times at most.
            while len(self._pending) > 1 and len(self._pending[-2]) <= len(self._pending[-1]):
                last = self._pending.pop()
                self._pending[-1] = np.concatenate([self._pending[-1], last])
            start = stop
            if full:
                self._flush(self._rows_per_chunk)

    def _flush(self, n_rows: int) -> None:
        """Write the pending rows as one row of chunks, padded with the fill value to `n_rows`."""
        rows = self._pending[0] if len(self._pending) == 1 else np.concatenate(self._pending)
        chunks = (n_rows, *chunk_shape((n_rows, *self.row_shape))[1:])
        padded = tuple(-(-n // c) * c for n, c in zip((n_rows, *self.row_shape), chunks, strict=True))
        if rows.shape != padded:
            fill = np.nan if self.dtype == "float64" else 0
            full = np.full(padded, fill, dtype=rows.dtype)
            full[tuple(slice(0, n) for n in rows.shape)] = rows
            rows = full
        for index in product(*(range(n // c) for n, c in zip(padded[1:], chunks[1:], strict=True))):
            window = tuple(slice(i * c, (i + 1) * c) for i, c in zip(index, chunks[1:], strict=True))
            raw = rows[(slice(None), *window)].tobytes()
            crc = int(google_crc32c.value(raw))
            name = ".".join(["c", str(self._n_chunk_rows), *map(str, index)])
            write_bytes(self.folder / name, raw, crc.to_bytes(CRC_BYTES, "little"))
            self._crcs.append(f"{crc:08x}")
        self._n_chunk_rows += 1
        self._pending.clear()
        self._n_pending = 0

    def progress(self) -> tuple[list[str], NumericArray]:
        """What `resume` needs: checksums of the chunks written, and the rows that wait for their chunk to fill."""
        rows = self._pending or [np.empty((0, *self.row_shape), dtype=self.dtype)]
        return list(self._crcs), np.concatenate(rows)

    def resume(self, crcs: list[str], pending: npt.ArrayLike) -> None:
        """Go on where `progress` was asked, in a new writer of the same array; chunks written later are overwritten.

        Reads the chunks back, to digest them. Raises StoreError when one is missing or altered.
        """
        entry, rows = full_chunks(self.key, self.row_shape, self.dtype, crcs), self._rows_per_chunk
        stored = StoredArray(Path(str(self.folder).removesuffix(self.key)), entry)
        for start in range(0, entry.shape[0], rows):
            self._digest(stored.read(start, start + rows))
        self._n_chunk_rows, self._crcs = entry.shape[0] // rows, list(crcs)
        self.append(pending)

    def _digest(self, rows: npt.ArrayLike) -> NumericArray:
        block = np.ascontiguousarray(rows, dtype=np.dtype(self.dtype).newbyteorder("<"))
        self._sha.update(block.reshape(-1).view(np.uint8).data)
        self._n_rows += len(block)
        return block

    def close(self) -> tuple[ArrayEntry, dict[str, Any]]:
        """Write what is pending; returns the manifest entry and the zarr.json document (not yet written)."""
        n_full = self._rows_per_chunk
        n_chunk_rows = n_full if self._n_rows >= n_full else max(1, self._n_rows)
        if self._n_pending:
            self._flush(n_chunk_rows)
        shape = (self._n_rows, *self.row_shape)
        chunks = (n_chunk_rows, *chunk_shape((n_chunk_rows, *self.row_shape))[1:])
        entry = ArrayEntry(self.key, shape, chunks, self.dtype, self._sha.hexdigest(), tuple(self._crcs))
        document = array_document(shape, chunks, self.dtype, self.dimension_names, self.attributes)
        return entry, document
