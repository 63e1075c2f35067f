"""Where the files of jobs and models lie under the root, and how they are read and written.

ROOT/hamfit.sqlite                   database, unless it is elsewhere
     service.lock                    held by the service that works here
     jobs/ID/outcome.json            how it ended, written whole; what is in it counts, whoever reads it
             log.jsonl               what the job told, one JSON object a line
             results/                model, trajectories.zarr, dataset.zarr, report.html, report.json
     models/NAME/ID/                 a published model, named by the job that made it
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hamfit.errors import DiskError
from hamfit.stores.disk import raise_store_error

LOG = "log.jsonl"
OUTCOME = "outcome.json"


@dataclass(frozen=True, slots=True)
class JobFolder:
    """The files of one job."""

    path: Path
    """ROOT/jobs/ID."""

    @property
    def results(self) -> Path:
        """What the job makes."""
        return self.path / "results"

    @property
    def log(self) -> Path:
        """What the job told."""
        return self.path / LOG

    @property
    def report(self) -> Path:
        """HTML report of an evaluation."""
        return self.results / "report.html"

    def make(self) -> None:
        """Make the folder; raises DiskError."""
        try:
            self.results.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise_store_error(error, self.path)

    def outcome(self) -> Mapping[str, Any] | None:
        """How the runner ended; None when it has not said so, or not whole."""
        try:
            found = json.loads((self.path / OUTCOME).read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            return None
        except OSError as error:
            raise DiskError(
                f"{self.path.name}: its outcome cannot be read ({error.strerror}); see to the disk"
            ) from error
        return found if isinstance(found, dict) else None

    def keep_outcome(self, outcome: Mapping[str, Any]) -> None:
        """Write how the runner ended; raises DiskError."""
        write_whole(self.path / OUTCOME, json.dumps(outcome).encode())

    def forget_outcome(self) -> None:
        """Remove the outcome of an attempt, before the next."""
        (self.path / OUTCOME).unlink(missing_ok=True)

    def remove_results(self) -> None:
        """Remove all that was made, finished or not; the log stays. Raises DiskError."""
        _remove(self.results)

    def remove_leftovers(self) -> None:
        """Remove what lies hidden beside the results: workspaces and locks of runs that will not go on.

        Raises DiskError.
        """
        try:
            hidden = [entry for entry in self.results.iterdir() if entry.name.startswith(".")]
        except FileNotFoundError:
            return
        except OSError as error:
            raise_store_error(error, self.results)
        for entry in hidden:
            _remove(entry)


@dataclass(frozen=True, slots=True)
class Folders:
    """The root of a service."""

    root: Path
    """Absolute."""

    @property
    def lock(self) -> Path:
        """Held while a service works here."""
        return self.root / "service.lock"

    @property
    def models(self) -> Path:
        """Published models."""
        return self.root / "models"

    def job(self, job_id: str) -> JobFolder:
        """The folder of a job."""
        return JobFolder(self.root / "jobs" / job_id)

    def model(self, name: str, job_id: str) -> Path:
        """The folder of a published model."""
        return self.models / name / job_id

    def free_bytes(self) -> int:
        """Space left on the disk of the root."""
        return shutil.disk_usage(self.root).free

    def check(self, min_free_bytes: int) -> None:
        """Raises DiskError when the root cannot be written or has little space left."""
        try:
            probe = self.root / f".probe-{secrets.token_hex(4)}"
            write_whole(probe, b"hamfit")
            probe.unlink(missing_ok=True)
            free = self.free_bytes()
        except OSError as error:
            raise_store_error(error, self.root)
        if free < min_free_bytes:
            raise DiskError(
                f"the disk of the root has {free:,} bytes left, less than {min_free_bytes:,}; free some space"
            )


def _remove(path: Path) -> None:
    """Remove a file or a folder, which may be gone already; raises DiskError."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, onerror=_raise_unless_gone)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise_store_error(error, path)


def _raise_unless_gone(function: object, path: str, found: Any) -> None:
    del function, path
    if not isinstance(found[1], FileNotFoundError):
        raise found[1]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is either whole or not there, also after the loss of power; raises DiskError."""
    # a name of its own: two threads may write the same file
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise_store_error(error, path)
