"""A Zarr store under construction: its folders, the metadata to come, and the manifest entries of finished
arrays.

Metadata documents are collected and written at the end in one sweep, because the shape of an array that is
appended to is known only then, and because the root repeats all of them (consolidated metadata).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hamfit.stores.array_writer import ArrayWriter
from hamfit.stores.disk import NOTHING_KEPT, disk_errors, write_bytes
from hamfit.stores.zarr_array import ArrayEntry, group_document


class StoreBuilder:
    """Writes below `root`, the hidden folder that will become `path`; failures name `path`, and say what is `left`."""

    def __init__(self, root: Path, path: Path, left: str = NOTHING_KEPT) -> None:
        self.root = root
        self.path = path
        self._left = left
        self.arrays: dict[str, ArrayEntry] = {}
        self.documents: dict[str, dict[str, Any]] = {}
        """The zarr.json of every group and array so far, by path."""

    def writing(self) -> AbstractContextManager[None]:
        """Translates a failed write inside its block into a DiskError."""
        return disk_errors(self.path, self._left)

    def _folder(self, key: str) -> Path:
        """The folder of an array or group, made below the root; a root that was removed is not made again."""
        *above, folder = accumulate(key.split("/"), "{}/{}".format)
        with self.writing():
            for group in above:
                if group not in self.documents:
                    (self.root / group).mkdir(exist_ok=True)
                    self.documents[group] = group_document({})
            (self.root / folder).mkdir(exist_ok=True)
        return self.root / folder

    def annotate(self, key: str, attributes: Mapping[str, Any]) -> None:
        """Add attributes to a group (which is made when new) or to a finished array."""
        if key not in self.documents:
            self._folder(key)
            self.documents[key] = group_document({})
        self.documents[key]["attributes"] |= dict(attributes)

    def array(
        self, key: str, axes: tuple[str, ...], row_shape: tuple[int, ...], dtype: str, unit: str | None
    ) -> ArrayWriter:
        """A new array to append rows to and to hand to `finish_array`."""
        return ArrayWriter(self._folder(key), key, axes, row_shape, dtype, {} if unit is None else {"unit": unit})

    def finish_array(self, writer: ArrayWriter) -> None:
        """Write what the array still holds back and note its manifest entry."""
        with self.writing():
            entry, document = writer.close()
        self.arrays[entry.key] = entry
        self.documents[entry.key] = document

    def add_array(self, key: str, values: npt.NDArray[Any], axes: tuple[str, ...], unit: str | None = None) -> None:
        """Write a whole array at once."""
        writer = self.array(key, axes, values.shape[1:], str(np.dtype(values.dtype)), unit)
        with self.writing():
            writer.append(values)
        self.finish_array(writer)

    def write_metadata(self, attributes: Mapping[str, Any]) -> None:
        """Write every zarr.json, the root's with the consolidated metadata of all others."""
        with self.writing():
            for key, document in self.documents.items():
                write_bytes(self.root / key / "zarr.json", json.dumps(document).encode())
            documents = dict(sorted(self.documents.items()))
            inline = {"kind": "inline", "must_understand": False, "metadata": documents}
            root = group_document(attributes) | {"consolidated_metadata": inline}
            write_bytes(self.root / "zarr.json", json.dumps(root).encode())
