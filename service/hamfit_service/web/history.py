"""How fast and how far a job was over time, for its plots.

The database keeps the newest progress and the beginning of each phase; what lies between is remembered here, for the
jobs of late, and gone when the service ends: then the plot is drawn from the phases alone.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hamfit_service.jobs.job import Job, JobEvent

_MOST_JOBS = 200
_MOST_SAMPLES = 400


@dataclass(frozen=True, slots=True)
class Sample:
    """The progress of a job at one time."""

    at: datetime
    percent: float
    rate: float
    unit: str


class ProgressHistory:
    """Listens to a `JobStore`. Safe in threads; its memory is bounded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: OrderedDict[str, list[Sample]] = OrderedDict()

    def __call__(self, event: JobEvent | None, job: Job) -> None:
        """Take note of the progress of ``job``."""
        del event
        progress = job.progress
        if job.started_at is None or job.state in ("accepted", "failed", "dismissed"):
            return
        sample = Sample(job.updated_at, progress.percent, progress.rows_per_second, progress.unit)
        with self._lock:
            samples = self._jobs.setdefault(job.id, [])
            self._jobs.move_to_end(job.id)
            samples.append(sample)
            if len(samples) > _MOST_SAMPLES:
                # half as many, evenly: the beginning stays in the picture
                del samples[1:-1:2]
            while len(self._jobs) > _MOST_JOBS:
                self._jobs.popitem(last=False)

    def document(self, job: Job, events: Sequence[JobEvent]) -> Mapping[str, Any]:
        """Columns for the plots: seconds since the job first ran, percent, speed; with the unit of the speed."""
        with self._lock:
            samples = list(self._jobs.get(job.id, ()))
        # after a restart of the service the past is known by its phases only
        first = samples[0].at if samples else None
        past = [_of_event(event) for event in events if event.kind == "phase" and (first is None or event.at < first)]
        samples = [*past, *samples]
        start = job.started_at or (samples[0].at if samples else job.submitted_at)
        progress = job.progress
        if samples and samples[0].at > start:
            samples.insert(0, Sample(start, 0.0, 0.0, progress.unit))
        if samples and job.finished_at is not None and job.finished_at > samples[-1].at:
            samples.append(Sample(job.finished_at, progress.percent, 0.0, progress.unit))
        units = [sample.unit for sample in samples if sample.rate > 0.0]
        # a speed that nobody has measured yet, or of a phase that counts nothing, is a gap and not zero
        return {
            "seconds": [round((sample.at - start).total_seconds(), 3) for sample in samples],
            "percent": [round(sample.percent, 2) for sample in samples],
            "rate": [sample.rate if sample.rate > 0.0 else None for sample in samples],
            "unit": units[-1] if units else "rows",
        }


def _of_event(event: JobEvent) -> Sample:
    data = event.data
    return Sample(
        event.at,
        float(data.get("percent", 0.0)),
        float(data.get("rows_per_second", 0.0)),
        str(data.get("unit", "rows")),
    )
