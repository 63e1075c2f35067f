"""What a request may point to: things inside the data roots, what jobs made, published models, and nothing else.

A reference is resolved to a real path, free of links, and that path is compared with the real paths of the roots, so
it does not matter how it was written. A folder is searched for links as well: one that leads out of the roots makes
the whole folder refused. Whatever lies outside is answered as if it did not exist. `Confinement` is asked when a job is
submitted and again when it begins, because what lies on a disk may change in between.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from unicodedata import category

from hamfit.errors import DiskError, SpecError
from hamfit_service.jobs.folders import Folders
from hamfit_service.jobs.rows import JobNotFound
from hamfit_service.jobs.store import JobStore
from hamfit_service.processes import PROCESSES
from hamfit_service.processes.references import (
    MODEL_NAME_PATTERN,
    JobOutput,
    PathReference,
    PublishedModel,
    parse_reference,
)
from hamfit_service.registry.models import ModelNotFound, ModelRegistry
from hamfit_service.security.fence import Fence, LeadsOut
from hamfit_service.security.redaction import Redaction

_LONGEST = 1024
_MARK = "_manifest.json"
# What the system answers when a path leads to nothing that we may use; anything else is a failing disk.
_NOT_THERE = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.EINVAL}
)


class ReferenceRefused(SpecError):
    """A reference points to nothing that a job may use."""


class Confinement:
    """Finds what references point to. May be called from any thread; keeps nothing but its arguments."""

    def __init__(self, data_roots: Sequence[Path], folders: Folders, store: JobStore, registry: ModelRegistry) -> None:
        self._roots = tuple(data_roots)
        self._folders = folders
        self._store = store
        self._registry = registry
        self._redaction = Redaction(self._roots, folders.root)

    def __call__(self, kind: str, reference: str, /) -> Path:
        """The real path of a `dataset`, `model` or `file`. A bare NAME is a path here, see `pinned`.

        Raises:
            ReferenceRefused: there is no such thing, or none that may be used.
            ModelDamaged: a published model is not what was published.
            DiskError, DatabaseAway: it cannot be found out now.

        """
        found = _parsed(reference)
        if isinstance(found, JobOutput):
            return self._job_output(kind, found.job_id)
        if isinstance(found, PublishedModel):
            if kind != "model":
                raise ReferenceRefused(f"'{reference}' is a published model where a {kind} is needed")
            try:
                return self._registry.path(found.name, found.version)
            except ModelNotFound as error:
                raise ReferenceRefused(str(error)) from error
        return self._in_roots(kind, reference, found.path)

    def pinned(self, kind: str, reference: str) -> str:
        """The reference as a job keeps it: the NAME of a published model becomes NAME@NEWEST, the rest stays.

        A published name wins over a folder of that name, which is to be had as ./NAME.
        """
        if kind == "model" and re.fullmatch(MODEL_NAME_PATTERN, reference):
            newest = self._registry.newest(reference)
            if newest is not None:
                return f"{reference}@{newest}"
        return reference

    def redacted(self, text: str) -> str:
        """Text for a client, without absolute paths of this machine."""
        return self._redaction(text)

    def _job_output(self, kind: str, job_id: str) -> Path:
        try:
            job = self._store.get(job_id)
        except JobNotFound as error:
            raise ReferenceRefused(str(error)) from error
        process = PROCESSES[job.process]
        if process.kind != kind:
            raise ReferenceRefused(f"job:{job_id} is a {job.process}, which makes no {kind}; give the job of another")
        if job.state != "succeeded":
            raise ReferenceRefused(f"job:{job_id} is {job.state}; what it makes can be used once it has succeeded")
        shown = f"job:{job_id}"
        with _refusing(f"{shown} has made no {kind}, or it was removed; run the job again"):
            results = _real(self._folders.job(job_id).results)
            return _checked(open_beneath(results, process.output), kind, shown, Fence((results,)))

    def _in_roots(self, kind: str, reference: str, path: Path) -> Path:
        if ".." in path.parts:
            raise ReferenceRefused(f"'{reference}' has a '..' in it; write the path without")
        roots = self._real_roots()
        fence = Fence([real for _, real in roots], Path(os.path.realpath(self._folders.root)))
        nothing = (
            f"there is no {kind} '{reference}' in the folders that jobs may read; give the path of one inside of them,"
            " job:ID or NAME@VERSION"
        )
        for given, real in roots:
            beneath = _beneath(path, given, real)
            if beneath is None:
                continue
            with suppress(_NotHere), _translated():
                found = _real(real / beneath)
                if fence.holds(found):
                    return _checked(found, kind, f"'{reference}'", fence)
        raise ReferenceRefused(nothing)

    def _real_roots(self) -> Sequence[tuple[Path, Path]]:
        """Each data root as it was given and as it is now; one that is not there now is left out."""
        found = []
        for root in self._roots:
            with suppress(OSError):
                found.append((root, _real(root)))
        return found


def open_beneath(root: Path, relative: str) -> Path:
    """The path of a file or folder below ``root``, for a download: no link on the way, nothing hidden.

    Raises ReferenceRefused when there is no such thing, DiskError when it cannot be found out now.
    """
    nothing = f"there is no '{relative}' here; see the list for what there is"
    parts = relative.split("/")
    if "\x00" in relative or "\\" in relative or any(not part or part.startswith(".") for part in parts):
        raise ReferenceRefused(nothing)
    path = root
    for number, part in enumerate(parts):
        path = path / part
        try:
            with _refusing(nothing):
                mode = path.lstat().st_mode
        except ValueError as error:  # half of a surrogate pair is in no name of a file
            raise ReferenceRefused(nothing) from error
        if not (stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and number == len(parts) - 1)):
            raise ReferenceRefused(nothing)
    return path


def _parsed(reference: str) -> JobOutput | PublishedModel | PathReference:
    shown = reference[:80].encode("ascii", "backslashreplace").decode()
    if not reference or len(reference) > _LONGEST:
        raise ReferenceRefused(f"a reference has 1 to {_LONGEST} characters, and '{shown}' has {len(reference)}")
    if any(category(character) in ("Cc", "Cs") for character in reference):
        raise ReferenceRefused(f"'{shown}' has control characters in it; write a path without")
    try:
        return parse_reference(reference)
    except SpecError as error:
        raise ReferenceRefused(str(error)) from error


def _real(path: Path) -> Path:
    """The path without links; raises OSError when it leads nowhere."""
    return Path(os.path.realpath(path, strict=True))


def _beneath(path: Path, *names: Path) -> Path | None:
    """The part of a path below a root that has these names; None when it is not written as lying there."""
    if not path.is_absolute():
        return path
    return next((path.relative_to(name) for name in names if path.is_relative_to(name)), None)


def _checked(path: Path, kind: str, shown: str, fence: Fence) -> Path:
    """A real path inside the fence, once it is known to be what is needed."""
    mode = path.lstat().st_mode
    if kind == "file":
        if not stat.S_ISREG(mode):
            raise ReferenceRefused(f"{shown} is not a regular file; give the path of one")
        return path
    if not stat.S_ISDIR(mode):
        raise ReferenceRefused(f"{shown} is not the folder of a {kind}; give the path of one")
    # first, for a folder that somebody mistook for a dataset may be too large to be searched
    if not os.path.lexists(path / _MARK):
        raise ReferenceRefused(f"{shown} is no complete {kind}: it has no {_MARK}; write it again")
    try:
        fence.search(path)
    except LeadsOut as error:
        raise ReferenceRefused(f"{shown} cannot be used: {error}; copy the {kind} without it") from error
    return path


class _NotHere(Exception):
    """A path leads to nothing that may be used."""


@contextmanager
def _translated() -> Iterator[None]:
    """_NotHere for paths that lead to nothing, DiskError for disks that fail."""
    try:
        yield
    except OSError as error:
        if error.errno in _NOT_THERE:
            raise _NotHere from error
        raise DiskError(f"the disk does not answer ({error.strerror}); see to it and try again") from error


@contextmanager
def _refusing(message: str) -> Iterator[None]:
    """ReferenceRefused for paths that lead to nothing, DiskError for disks that fail."""
    try:
        with _translated():
            yield
    except _NotHere as error:
        raise ReferenceRefused(message) from error
