"""One Zarr v3 array on a file system: its layout, and reading it chunk by chunk with every byte checked.

The files are plain Zarr v3 (regular grid, little-endian bytes, crc32c) and any Zarr reader opens them; the
tests read them through zarr itself. They are written and read here directly for two reasons: zarr-python
3.1.6 takes 10 to 20 times as long to read small arrays (`python -m tests.benchmarks.zarr_python`), and a
dataset of a hundred short trajectories has two thousand of them; and it reads a missing chunk as the fill
value, which for us must be an error.

Codec: `bytes` then `crc32c`, no compression. Positions and forces are noise below the fourth digit: zstd
gains 5-10 % and costs more time than the disk. The checksum ends every chunk file, and the manifest repeats
it, so that neither a flipped bit nor a chunk taken from another store goes unnoticed.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

import google_crc32c
import numpy as np
import numpy.typing as npt

from hamfit.errors import StoreError
from hamfit.stores.replacing import Stamp, stamp_of

TARGET_CHUNK_BYTES = 8 * 2**20
"""Uncompressed size that chunks stay below: large enough for disks, small enough for a worker's memory."""

CACHE_BYTES = 32 * 2**20
"""Most bytes of decoded chunks that one process keeps, so that neighbouring frames share one read."""

NumericArray: TypeAlias = npt.NDArray[Any]

_FILL: dict[str, Any] = {"float64": "NaN", "int64": 0}
CRC_BYTES = 4


def group_document(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The zarr.json of a group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}


def array_document(
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: str,
    dimension_names: tuple[str, ...],
    attributes: Mapping[str, Any],
) -> dict[str, Any]:
    """The zarr.json of an array in this module's codec; NaN is the fill value of floats."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
        # A dot keeps all chunks of an array in its own folder: one folder per array instead of one per axis.
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": _FILL[dtype],
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
        "attributes": dict(attributes),
        "dimension_names": list(dimension_names),
        "storage_transformers": [],
    }


def chunk_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Chunks of at most `TARGET_CHUNK_BYTES`, numbers having 8: whole rows of the first axis while they fit, else
    parts of the second axis.

    An axis shorter than the chunk bounds it; empty axes count as one, as Zarr asks.
    """
    chunks = [max(1, n) for n in shape]
    for axis in range(len(chunks)):
        rest = math.prod(chunks[axis + 1 :]) * 8
        if chunks[axis] * rest <= TARGET_CHUNK_BYTES:
            break
        chunks[axis] = max(1, TARGET_CHUNK_BYTES // rest)
    return tuple(chunks)


@dataclass(frozen=True, slots=True)
class ArrayEntry:
    """What the manifest says of one array."""

    key: str
    """Path inside the store."""
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: str
    sha256: str
    """Digest of the little-endian content in C order; it does not depend on the chunks."""
    crc32c: tuple[str, ...]
    """Checksum of each chunk in C order of the grid, as 8 hexadecimal digits."""

    def __post_init__(self) -> None:
        # a manifest must not lead out of its store
        if not {"", ".", ".."}.isdisjoint(self.key.split("/")):
            raise ValueError(f"{self.key!r} is no path inside a store")

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of chunks along each axis."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.chunks, strict=True))

    @property
    def chunk_file_bytes(self) -> int:
        """Size of every chunk file: Zarr pads the last chunks to full size."""
        return math.prod(self.chunks) * np.dtype(self.dtype).itemsize + CRC_BYTES

    @property
    def n_bytes(self) -> int:
        """Bytes on disk."""
        return len(self.crc32c) * self.chunk_file_bytes

    def chunk_name(self, index: tuple[int, ...]) -> str:
        """File name of a chunk inside the array's folder."""
        return ".".join(["c", *map(str, index)])


class _ChunkCache:
    """Decoded chunks of this process, the longest unused leaving first; safe to share between threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._size = 0
        self._lock = Lock()
        self._chunks: OrderedDict[tuple[str, ...], NumericArray] = OrderedDict()

    def get(self, key: tuple[str, ...]) -> NumericArray | None:
        with self._lock:
            chunk = self._chunks.get(key)
            if chunk is not None:
                self._chunks.move_to_end(key)
            return chunk

    def put(self, key: tuple[str, ...], chunk: NumericArray) -> None:
        with self._lock:
            if key in self._chunks or chunk.nbytes > self._limit:
                return
            self._chunks[key] = chunk
            self._size += chunk.nbytes
            while self._size > self._limit:
                self._size -= self._chunks.popitem(last=False)[1].nbytes


_CACHE = _ChunkCache(CACHE_BYTES)


@dataclass(frozen=True, slots=True)
class StoredArray:
    """Reads one array of a store at `root` as its manifest entry describes it."""

    root: Path
    entry: ArrayEntry
    stamp: Stamp | None = None
    """Stamp of the store that the entry is of, to tell one that was replaced from one that is damaged."""

    def check_files(self) -> None:
        """StoreError unless every chunk file is there in full size; no content is read."""
        entry = self.entry
        grid = entry.grid
        if math.prod(grid) != len(entry.crc32c):
            raise StoreError(f"{self.root}: the manifest is inconsistent about {entry.key}: write the dataset again")
        # Thousands of arrays pass here when a dataset is opened: plain strings, one stat call each.
        folder, expected = f"{self.root}/{entry.key}/", entry.chunk_file_bytes
        for index in product(*map(range, grid)):
            try:
                size = os.stat(folder + entry.chunk_name(index)).st_size
            except OSError as error:
                raise self._damage(index, "is missing") from error
            if size != expected:
                raise self._damage(index, f"holds {size} of {expected} bytes")

    def _damage(self, index: tuple[int, ...], what: str) -> StoreError:
        if self.stamp is not None and stamp_of(self.root) != self.stamp:
            return StoreError(f"{self.root}: was replaced or removed after it was opened: open it again")
        name = f"{self.entry.key}/{self.entry.chunk_name(index)}"
        return StoreError(f"{self.root}: chunk {name} {what}: the store is damaged, copy or write it again")

    def _chunk(self, index: tuple[int, ...], keep: bool) -> NumericArray:
        entry = self.entry
        position = int(np.ravel_multi_index(index, entry.grid))
        key = (str(self.root), entry.key, entry.crc32c[position], str(position), entry.sha256)
        cached = _CACHE.get(key)
        if cached is not None:
            return cached
        n_data = entry.chunk_file_bytes - CRC_BYTES
        try:
            with open(os.path.join(self.root, entry.key, entry.chunk_name(index)), "rb") as file:
                raw, stored = file.read(n_data), file.read(CRC_BYTES + 1)
        except OSError as error:
            raise self._damage(index, f"cannot be read ({error.strerror})") from error
        if len(raw) + len(stored) != entry.chunk_file_bytes:
            raise self._damage(index, "has the wrong size")
        crc = int(google_crc32c.value(raw))
        if stored != crc.to_bytes(CRC_BYTES, "little") or f"{crc:08x}" != entry.crc32c[position]:
            raise self._damage(index, "does not match its checksum")
        little = np.dtype(entry.dtype).newbyteorder("<")
        chunk = np.frombuffer(raw, dtype=little).reshape(entry.chunks).astype(entry.dtype, copy=False)
        if keep:
            _CACHE.put(key, chunk)
        return chunk

    def read(self, start: int = 0, stop: int | None = None) -> NumericArray:
        """Rows start..stop of the first axis as a new array; only the chunks that hold them are read.

        Raises StoreError for a chunk that is missing, short or altered.
        """
        entry = self.entry
        stop = entry.shape[0] if stop is None else stop
        result = np.empty((stop - start, *entry.shape[1:]), dtype=entry.dtype)
        size = entry.chunks[0]
        for row in range(start // size, -(-stop // size)):
            low, high = max(start, row * size), min(stop, (row + 1) * size)
            # A chunk used whole is not needed again soon; one used in part is, by the next frames.
            partly = high - low < min(size, entry.shape[0] - row * size)
            for index in product(*map(range, entry.grid[1:])):
                chunk = self._chunk((row, *index), keep=partly)
                window = tuple(
                    slice(i * c, min((i + 1) * c, n))
                    for i, c, n in zip(index, entry.chunks[1:], entry.shape[1:], strict=True)
                )
                inside = tuple(slice(0, w.stop - w.start) for w in window)
                rows = chunk[(slice(low - row * size, high - row * size), *inside)]
                result[(slice(low - start, high - start), *window)] = rows
        return result

    def digest(self) -> str:
        """sha256 of the content as it lies on disk, to compare with the entry's."""
        sha = hashlib.sha256()
        rows = self.entry.chunks[0]
        for start in range(0, self.entry.shape[0], rows):
            block = self.read(start, min(self.entry.shape[0], start + rows))
            data = np.ascontiguousarray(block, dtype=block.dtype.newbyteorder("<"))
            sha.update(data.reshape(-1).view(np.uint8).data)
        return sha.hexdigest()
