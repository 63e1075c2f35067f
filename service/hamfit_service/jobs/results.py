"""What a job made: documents about it, and the files and stores themselves, confined to the job's results."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from hamfit.errors import HamfitError
from hamfit_service.jobs.folders import Folders
from hamfit_service.jobs.job import Job
from hamfit_service.jobs.store import JobStore
from hamfit_service.jobs.trajectories import documents, frames
from hamfit_service.processes import PROCESSES
from hamfit_service.registry.models import ModelRegistry
from hamfit_service.security.confinement import ReferenceRefused, open_beneath
from hamfit_service.wire import Link, ResultFile, ResultsDocument, TrajectoryList

Kind: TypeAlias = Literal["model", "dataset", "report", "file"]


class ResultNotFound(HamfitError):
    """A job has made no such thing, or not yet."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file or folder that may be sent."""

    path: Path
    name: str
    """Its last name."""
    is_folder: bool


class Results:
    """Reads what jobs have made, also while they run; changes nothing. May be called from any thread."""

    def __init__(self, folders: Folders, store: JobStore, registry: ModelRegistry) -> None:
        self._folders = folders
        self._store = store
        self._registry = registry

    def document(self, job: Job) -> ResultsDocument:
        """All that a job has made so far."""
        at = f"/v1/jobs/{job.id}"
        outputs = [] if job.state == "dismissed" else list(self._outputs(job))
        main = PROCESSES[job.process].output if job.process in PROCESSES else ""
        has_main = job.state == "succeeded" and any(output.name == main for output in outputs)
        links = [Link(href=at, rel="up", type="application/json")]
        if PROCESSES[job.process].kind == "dataset":
            links.append(Link(href=f"{at}/results/trajectories", rel="item", type="application/json"))
        return ResultsDocument(
            id=job.id,
            status=job.state,
            complete=job.is_final,
            report=None if job.result is None else dict(job.result),
            outputs=outputs,
            reference=f"job:{job.id}" if has_main else None,
            model=self._registry.published(job.id) if job.state == "succeeded" else None,
            links=links,
        )

    def find(self, job: Job, path: str) -> Found:
        """A file or store by its path within the results; raises ResultNotFound."""
        missing = f"job {job.id} has no result '{path}'; see its list of results for what there is"
        try:
            found = open_beneath(self._folders.job(job.id).results, path)
            is_folder = stat.S_ISDIR(found.lstat().st_mode)
        except (ReferenceRefused, OSError) as error:
            raise ResultNotFound(missing) from error
        return Found(found, found.name, is_folder)

    def trajectories(self, job: Job, initial: Path | None = None) -> TrajectoryList:
        """Every trajectory that a job made or is making, with the frames that can be read now.

        ``initial`` is the dataset of a rollout's initial states; without it those that wait are not known. Raises
        ResultNotFound for a job that makes none, StoreError for a dataset that is damaged.
        """
        found = documents(job, self._dataset(job), initial)
        return TrajectoryList(id=job.id, status=job.state, trajectories=found)

    def frames(self, job: Job, name: str, start: int, stop: int | None, step: int) -> bytes:
        """Frames of a trajectory as an .npz archive.

        Raises ResultNotFound when there is no such trajectory or no frame of it yet, FramesRefused for frames that are
        not there or too many, StoreError for a dataset that is damaged.
        """
        found = frames(self._dataset(job), name, start, stop, step)
        if found is None:
            raise ResultNotFound(
                f"job {job.id} has no frame of a trajectory '{name[:100]}' yet; see its list of trajectories"
            )
        return found

    def _dataset(self, job: Job) -> Path:
        """Where the dataset of a job is, or will be."""
        process = PROCESSES[job.process]
        if process.kind != "dataset" or job.state == "dismissed":
            raise ResultNotFound(f"job {job.id} ({job.process}, {job.state}) has no trajectories; see its results")
        return self._folders.job(job.id).results / process.output

    def _outputs(self, job: Job) -> Iterator[ResultFile]:
        folder = self._folders.job(job.id).results
        try:
            names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
        except OSError:
            return
        for name in names:
            try:
                size = _size(folder / name)
            except OSError:
                continue  # put in its place or removed this very moment
            href = f"/v1/jobs/{job.id}/results/files/{name}"
            yield ResultFile(name=name, kind=_kind(name), bytes=size, href=href)


def _kind(name: str) -> Kind:
    if name == "model":
        return "model"
    if name.endswith(".zarr"):
        return "dataset"
    return "report" if name.endswith(".html") else "file"


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links count as nothing."""
    found = path.lstat()
    if stat.S_ISREG(found.st_mode):
        return found.st_size
    if not stat.S_ISDIR(found.st_mode):
        raise OSError(f"{path.name} is neither file nor folder")
    return sum(
        entry.lstat().st_size
        for folder, _, names in os.walk(path)
        for name in names
        if stat.S_ISREG((entry := Path(folder) / name).lstat().st_mode)
    )
