"""The parts of a service that keep and find things, on a real database and real folders, without the service."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hamfit_service.jobs.database import Database
from hamfit_service.jobs.folders import Folders
from hamfit_service.jobs.job import Job
from hamfit_service.jobs.migrate import upgrade
from hamfit_service.jobs.store import JobStore, Submission
from hamfit_service.registry.models import ModelRegistry
from hamfit_service.security.confinement import Confinement
from hamfit_service.security.tokens import TokenStore


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything on one database, the data root beside the service's root."""

    data: Path
    folders: Folders
    database: Database
    store: JobStore
    tokens: TokenStore
    registry: ModelRegistry
    confinement: Confinement

    @classmethod
    def at(cls, place: Path, *roots: Path) -> Parts:
        """Parts under a folder; ``roots`` are data roots besides PLACE/data."""
        data, folders = place / "data", Folders(place / "root")
        data.mkdir(parents=True, exist_ok=True)
        database = Database(f"sqlite:///{folders.root}/hamfit.sqlite")
        upgrade(database)
        store, registry = JobStore(database), ModelRegistry(database, folders)
        confinement = Confinement((data, *roots), folders, store, registry)
        return cls(data, folders, database, store, TokenStore(database), registry, confinement)

    def job(self, process: str = "fit", state: str = "succeeded", inputs: Mapping[str, Any] | None = None) -> Job:
        """A job in a state, brought there as the reconciler does."""
        job, _ = self.store.submit(Submission(process, inputs or {}, "ann"))
        self.folders.job(job.id).make()
        if state == "accepted":
            return job
        running = self.store.claim(job.id)
        return running if state == "running" else self.store.succeed(job.id, {})

    def fit(self, model: Path, state: str = "succeeded") -> Job:
        """A fit that has made this model."""
        job = self.job("fit", state)
        shutil.copytree(model, self.folders.job(job.id).results / "model")
        return job
