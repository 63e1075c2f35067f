"""The workspace of a running fit: a hidden directory beside the model, locked, resumable, gone when all is done.

It holds the fingerprint of the plan, the basis and one state for every finished shard. A fit that was killed leaves
it behind; the same fit started again finds it, checks the fingerprint and computes only what is missing. The lock is
the kernel's (flock): it vanishes with the process that held it, however that died.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hamfit.errors import DataError, FeatureError, GraphError, SpecError
from hamfit.stores.publish import locked, raise_store_error


def lock_path(out: Path) -> Path:
    """The lock of a fit; another than that of the store ``out``, which the same process takes to publish."""
    return out.with_name(f".{out.name}.fit.lock")


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
        with tempfile.TemporaryDirectory(prefix="hamfit-") as scratch:
            yield Path(scratch)
        return
    home = out.with_name(f".{out.name}.fit")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with locked(out, lock_path(out)):
            _claim(home, fingerprint, resume)
            try:
                yield home if keep else None
            except (DataError, GraphError, FeatureError, SpecError):
                # the same fit would fail again: there is nothing to take up
                shutil.rmtree(home, ignore_errors=True)
                raise
            shutil.rmtree(home, ignore_errors=True)
    except OSError as error:
        raise_store_error(error, out)


def _claim(home: Path, fingerprint: str, resume: bool) -> None:
    """Keep what an earlier run of the same plan left, throw away anything else."""
    home.mkdir(exist_ok=True)
    note = home / "plan.json"
    try:
        same = resume and json.loads(note.read_text(encoding="utf-8"))["fingerprint"] == fingerprint
    except (OSError, ValueError, KeyError):
        same = False
    if not same:
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        note.write_text(json.dumps({"fingerprint": fingerprint}), encoding="utf-8")
