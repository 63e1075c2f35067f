"""The registry: names of models, each with versions 1, 2, 3 ... that never change.

A version is a row of the database and a folder of read-only files, ROOT/models/NAME/JOB. The folder is made first,
under a hidden name and renamed when it is whole; only the row makes it a version. A crash between the two leaves a
folder that nobody sees, and publishing again finds it there. Every way to a model's files goes through `path` or
`get`, which compare them with the digest in the row.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, func, select, tuple_
from sqlalchemy import text as sql
from sqlalchemy.orm import Session

from hamfit.errors import DiskError, HamfitError, SpecError, StoreError
from hamfit_service.jobs.database import Database
from hamfit_service.jobs.folders import Folders, JobFolder
from hamfit_service.jobs.job import Job
from hamfit_service.jobs.rows import WrongState
from hamfit_service.jobs.tables import ModelRow
from hamfit_service.processes import PROCESSES
from hamfit_service.processes.references import JOB_ID_PATTERN, MODEL_NAME_PATTERN
from hamfit_service.registry.copies import Stamps, digest_of, keep_copy, stamps_of
from hamfit_service.registry.origins import lineage_and_summary
from hamfit_service.wire import Link, ModelDocument, ModelList

# Arbitrary: tells the locks of names from other advisory locks in the same Postgres database.
_LOCK = 0x68616D66


class ModelNotFound(HamfitError):
    """There is no published model of that name or version."""


class ModelDamaged(StoreError):
    """The files of a published model are not those that were published."""


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """A model whose files are in place, and which waits for its version."""

    name: str
    """Name under which it will be published."""
    job_id: str
    """Job that fitted it."""
    path: Path
    """Folder of its files."""
    digest: str
    """SHA-256 over all of them."""
    lineage: Mapping[str, Any]
    """Where it comes from."""
    summary: Mapping[str, Any]
    """How good it is."""


class ModelRegistry:
    """The published models of a service; all methods may be called from any thread and raise `DatabaseAway`."""

    def __init__(self, database: Database, folders: Folders) -> None:
        self._database = database
        self._folders = folders
        # one copy at a time: the second of two that publish the same model finds it in its place
        self._copying = threading.Lock()
        self._verified: dict[Path, tuple[str, Stamps]] = {}

    def prepare(self, name: str, job_folder: JobFolder, job_id: str) -> PreparedModel:
        """Put the model of a job in its place, with read-only files; nothing more when it is there already.

        Raises:
            SpecError: the name is no name.
            StoreError: the job made no model, or it is damaged.
            DiskError: the disk is full or read-only.

        """
        _check_name(name)
        if re.fullmatch(JOB_ID_PATTERN, job_id) is None:
            raise SpecError(f"'{job_id}' is no name of a job; write its 16 characters")
        source, target = job_folder.results / PROCESSES["fit"].output, self._folders.model(name, job_id)
        with self._copying:
            lineage, summary = lineage_and_summary(source)
            digest = keep_copy(source, target)
        return PreparedModel(name, job_id, target, digest, lineage, summary)

    def insert(self, session: Session, now: datetime, prepared: PreparedModel, owner: str) -> int:
        """Give a prepared model the next version of its name, in the caller's transaction; the one it has already."""
        if session.get_bind().dialect.name == "postgresql":
            # two transactions would read the same newest version; SQLite lets only one write anyway
            lock = sql("SELECT pg_advisory_xact_lock(:lock, hashtext(:name))")
            session.execute(lock, {"lock": _LOCK, "name": prepared.name})
        known = select(ModelRow).where(ModelRow.name == prepared.name, ModelRow.job_id == prepared.job_id)
        if (row := session.scalar(known)) is not None:
            return row.version
        newest = session.scalar(select(func.max(ModelRow.version)).where(ModelRow.name == prepared.name))
        row = ModelRow(
            name=prepared.name,
            version=(newest or 0) + 1,
            job_id=prepared.job_id,
            owner=owner,
            digest=prepared.digest,
            lineage=dict(prepared.lineage),
            summary=dict(prepared.summary),
            published_at=now,
        )
        session.add(row)
        session.flush()
        return row.version

    def publish(self, name: str, job: Job, owner: str) -> ModelDocument:
        """Publish what a job fitted; the version it has already when it was published under this name before.

        Raises:
            SpecError: the name is no name, or the job fits no models.
            WrongState: the job has not succeeded.
            StoreError, DiskError: as `prepare`.

        """
        _check_name(name)
        if job.process not in PROCESSES or PROCESSES[job.process].kind != "model":
            raise SpecError(f"job {job.id} is a {job.process} and makes no model; give the job of a fit")
        if job.state != "succeeded":
            raise WrongState(f"job {job.id} is {job.state}; a model can be published once its fit has succeeded")
        with self._database.reading() as connection:
            query = select(ModelRow.version).where(ModelRow.name == name, ModelRow.job_id == job.id)
            known = connection.scalar(query)
        if known is None:
            prepared = self.prepare(name, self._folders.job(job.id), job.id)
            with self._database.writing() as session:
                known = self.insert(session, datetime.now(UTC), prepared, owner)
        return self.get(name, known)

    def get(self, name: str, version: int | None = None) -> ModelDocument:
        """A version of a model, by default the newest.

        Raises:
            ModelNotFound: there is none.
            ModelDamaged: its files are not those that were published.
            DiskError: they cannot be read now.

        """
        row = self._row(name, version)
        self._verify(row)
        return _document(row)

    def path(self, name: str, version: int) -> Path:
        """The folder of a version; raises as `get` does."""
        return self._verify(self._row(name, version))

    def newest(self, name: str) -> int | None:
        """The newest version of a name; None when it is no name of a model."""
        with self._database.reading() as connection:
            return connection.scalar(select(func.max(ModelRow.version)).where(ModelRow.name == name))

    def published(self, job_id: str) -> str | None:
        """NAME@VERSION under which the model of a job was last published; None when it was not."""
        with self._database.reading() as connection:
            query = (
                select(ModelRow.name, ModelRow.version)
                .where(ModelRow.job_id == job_id)
                .order_by(ModelRow.published_at.desc(), ModelRow.name.desc())
            )
            row = connection.execute(query).first()
            return None if row is None else f"{row.name}@{row.version}"

    def page(self, *, name: str | None = None, limit: int = 50, after: str | None = None) -> ModelList:
        """Models from the newest version on; ``after`` is the reference of the last one of the page before.

        Raises ModelNotFound when ``after`` is no model.
        """
        order = (ModelRow.published_at, ModelRow.name, ModelRow.version)
        with self._database.reading() as connection:
            query = select(ModelRow.__table__).order_by(*(column.desc() for column in order)).limit(limit + 1)
            if name is not None:
                query = query.where(ModelRow.name == name)
            if after is not None:
                last = _find(connection, *_split(after))
                query = query.where(tuple_(*order) < tuple_(last.published_at, last.name, last.version))
            models = [_document(row) for row in connection.execute(query)]
        more = len(models) > limit
        return ModelList(models=models[:limit], next=models[limit - 1].reference if more else None)

    def _row(self, name: str, version: int | None) -> Row[Any]:
        with self._database.reading() as connection:
            return _find(connection, name, version)

    def _verify(self, row: Row[Any]) -> Path:
        """The folder of a model, once its files are known to be those that were published.

        They are read once; later a look at their sizes, places and times of change (which nobody can set) is enough.
        """
        path = self._folders.model(row.name, row.job_id)
        try:
            stamps = stamps_of(path)
            if self._verified.get(path) != (row.digest, stamps):
                if digest_of(path) != row.digest:
                    raise StoreError("its digest is another")
                self._verified[path] = row.digest, stamps
        except (StoreError, FileNotFoundError, NotADirectoryError) as error:
            self._verified.pop(path, None)
            raise ModelDamaged(
                f"model {row.name}@{row.version} is not what was published: its files were changed, and it will not be"
                f" used; put them back, or publish job {row.job_id} under another name"
            ) from error
        except OSError as error:
            raise DiskError(
                f"model {row.name}@{row.version} cannot be read ({error.strerror}); see to the disk"
            ) from error
        return path


def _check_name(name: str) -> None:
    if re.fullmatch(MODEL_NAME_PATTERN, name) is None:
        raise SpecError(
            f"'{name}' is no name for a model; write lower-case letters, digits, and _ . - within, 64 at most"
        )


def _split(reference: str) -> tuple[str, int]:
    name, _, version = reference.rpartition("@")
    if not name or re.fullmatch(r"[1-9][0-9]{0,8}", version) is None:
        raise ModelNotFound(f"'{reference}' is no NAME@VERSION of a model; see the list of models")
    return name, int(version)


def _find(connection: Connection, name: str, version: int | None) -> Row[Any]:
    query = select(ModelRow.__table__).where(ModelRow.name == name).order_by(ModelRow.version.desc()).limit(1)
    if version is not None:
        query = query.where(ModelRow.version == version)
    row = connection.execute(query).one_or_none()
    if row is None:
        what = name if version is None else f"{name}@{version}"
        raise ModelNotFound(f"there is no model {what}; see the list of models for what there is")
    return row


def _document(row: Row[Any]) -> ModelDocument:
    at = f"/v1/models/{row.name}/{row.version}"
    return ModelDocument(
        name=row.name,
        version=row.version,
        owner=row.owner,
        job=row.job_id,
        digest=row.digest,
        lineage=row.lineage,
        summary=row.summary,
        published_at=row.published_at,
        reference=f"{row.name}@{row.version}",
        links=[
            Link(href=at, rel="self", type="application/json"),
            Link(href=f"{at}/files", rel="enclosure", type="application/x-tar"),
            Link(href=f"/v1/jobs/{row.job_id}", rel="via", type="application/json"),
        ],
    )
