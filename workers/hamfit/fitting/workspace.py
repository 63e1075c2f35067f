"""The workspace of a running fit: the basis and one state for every finished shard, gone when all is done.

A fit that was killed leaves it behind; the same fit started again computes only what is missing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hamfit.errors import DataError, FeatureError, GraphError, SpecError
from hamfit.stores.workspaces import Place


@contextmanager
def workspace(out: Path | None, fingerprint: str, *, resume: bool, keep: bool) -> Iterator[Path | None]:
    """The directory for partial states: beside ``out``, temporary when there is no ``out``, None when not kept.

    Raises StoreError when another fit is writing to ``out`` or the place cannot be written. Removed on success;
    left for resuming when the fit is interrupted.
    """
    if out is None:
        if not keep:
            yield None
            return
        with tempfile.TemporaryDirectory(prefix="hamfit-", ignore_cleanup_errors=True) as scratch:
            yield Path(scratch)
        return
    place = Place(out, "fit")
    with place.held():
        home, _ = place.claim(fingerprint, resume=resume)
        try:
            yield home if keep else None
        except (DataError, GraphError, FeatureError, SpecError):
            # the same fit would fail again: there is nothing to take up
            place.remove()
            raise
        place.remove()
