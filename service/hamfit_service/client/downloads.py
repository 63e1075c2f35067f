"""Downloads that are whole or not there: written under a hidden name, renamed at the end."""

from __future__ import annotations

import os
import shutil
from functools import partial as bound
from pathlib import Path

from hamfit.errors import StoreError
from hamfit.stores.disk import disk_errors, raise_store_error
from hamfit.stores.publish import publishing
from hamfit_service.client.effects import Answer, Call, Flow, Open, Read, Work
from hamfit_service.client.errors import BadAnswer, NotFound, error_of
from hamfit_service.client.requests import patiently
from hamfit_service.client.unpacking import BadArchive, Unpacking
from hamfit_service.wire import ResultFile, ResultsDocument

_ATTEMPTS = 3
"""A long download that breaks is begun anew at least so often, however long it took until then."""


def choose(found: ResultsDocument, name: str | None) -> ResultFile:
    """The output of this name, or the model or dataset that the job was for; raises NotFound."""
    for output in found.outputs:
        if output.name == name or (name is None and output.kind in ("model", "dataset")):
            return output
    what = "no model and no dataset" if name is None else f"no '{name}'"
    has = ", ".join(output.name for output in found.outputs) or "no files"
    raise NotFound(f"job {found.id} is {found.status} and has made {what}; it has {has}")


def download_store(path: str, out: Path, patience: float, *, overwrite: bool = False) -> Flow[Path]:
    """The archive at ``path`` as the folder ``out``; begun anew when the connection breaks.

    Raises:
        StoreError: something is at ``out``, and is not a store or must not be overwritten; or the disk cannot take it.
        BadAnswer: the archive is damaged, or holds what no store does.
        ServerError: as the server says.

    """
    # what is thrown into the flow are errors of its own reads and writes
    with publishing(out, overwrite=overwrite) as folder, disk_errors(out):
        yield from patiently(lambda: _store(path, folder), patience, least_attempts=_ATTEMPTS)
    return out


def download_file(path: str, out: Path, patience: float, *, overwrite: bool = False) -> Flow[Path]:
    """The file at ``path`` as the file ``out``; raises as `download_store`."""
    if out.is_dir() or (out.exists() and not overwrite):
        raise StoreError(f"{out}: something is there already: choose another path")
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield from patiently(lambda: _file(path, partial), patience, least_attempts=_ATTEMPTS)
        if overwrite:
            partial.replace(out)
        else:
            os.link(partial, out)  # which, unlike a rename, never replaces anything
    except FileExistsError as error:
        raise StoreError(f"{out}: something is there already: choose another path") from error
    except OSError as error:
        raise_store_error(error, out)
    finally:
        partial.unlink(missing_ok=True)
    return out


def _opened(path: str) -> Flow[None]:
    answer: Answer = yield Open(Call("GET", path))
    if answer.status != 200:
        raise error_of(answer)


def _store(path: str, folder: Path) -> Flow[None]:
    yield from _opened(path)
    yield Work(bound(_empty, folder))
    unpacking = Unpacking(folder)
    try:
        while (piece := (yield Read())) is not None:
            yield Work(bound(unpacking.write, piece))
        yield Work(unpacking.finish)
    except BadArchive as error:
        raise BadAnswer(f"the archive at {path} is damaged or unsafe ({error}); nothing was kept") from error
    finally:
        unpacking.abandon()


def _file(path: str, partial: Path) -> Flow[None]:
    yield from _opened(path)
    with partial.open("wb") as file:
        while (piece := (yield Read())) is not None:
            yield Work(bound(file.write, piece))


def _empty(folder: Path) -> None:
    """Remove what a broken attempt left."""
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
