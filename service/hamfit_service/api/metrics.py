"""What Prometheus is told: requests, jobs, the cluster. A registry of its own, so that services in one process (as in
tests) do not mix."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from hamfit_service.jobs.job import FINAL, Job, JobEvent
from hamfit_service.wire import ClusterState

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Media type of `Metrics.text`."""

_REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_QUEUE_SECONDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0, 10_000.0, 100_000.0)
_JOB_SECONDS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0, 10_000.0, 36_000.0, 100_000.0)
_SAME_START_SECONDS = 1.0
_STATES = ("accepted", "running", "succeeded", "failed", "dismissed")


class Metrics:
    """Counters and gauges of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        names = ("method", "route", "status")
        self._requests = Histogram(
            "hamfit_http_request_seconds",
            "Time from a request to the beginning of its answer.",
            names,
            buckets=_REQUEST_SECONDS,
            registry=self.registry,
        )
        self.under_way = Gauge("hamfit_http_requests_under_way", "Requests being answered.", registry=self.registry)
        self.refused = Counter(
            "hamfit_http_refused_total", "Requests refused before they were read.", ("reason",), registry=self.registry
        )
        self.readers = Gauge("hamfit_event_streams", "Clients that watch jobs.", registry=self.registry)
        self._jobs = Gauge("hamfit_jobs", "Jobs in each state.", ("state",), registry=self.registry)
        self._ended = Counter(
            "hamfit_jobs_ended_total", "Jobs that came to their end.", ("process", "state"), registry=self.registry
        )
        self._failures = Counter(
            "hamfit_jobs_failed_total",
            "Jobs that failed, by whose the failure is.",
            ("process", "kind"),
            registry=self.registry,
        )
        self._waits = Histogram(
            "hamfit_job_queue_seconds",
            "Time from the submission of a job to its first start.",
            ("process",),
            buckets=_QUEUE_SECONDS,
            registry=self.registry,
        )
        self._rate = Gauge(
            "hamfit_job_rows_per_second",
            "Speed of the jobs that run, together.",
            ("process", "unit"),
            registry=self.registry,
        )
        self._retries = Counter(
            "hamfit_job_retries_total", "Attempts begun anew.", ("process", "kind"), registry=self.registry
        )
        self._seconds = Histogram(
            "hamfit_job_seconds",
            "Time from the first start of a job to its end.",
            ("process", "state"),
            buckets=_JOB_SECONDS,
            registry=self.registry,
        )
        self._alive = Gauge("hamfit_cluster_alive", "Whether the cluster answers.", registry=self.registry)
        self._workers = Gauge("hamfit_cluster_workers", "Workers of the cluster.", registry=self.registry)
        self._tasks = Gauge("hamfit_cluster_tasks", "Tasks that run on the cluster.", registry=self.registry)
        # by job: its process, the unit of its speed, its speed
        self._speeds: dict[str, tuple[str, str, float]] = {}
        self._lock = Lock()
        self._children: dict[tuple[str, str, int], Histogram] = {}

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = (method, route, status)
        child = self._children.get(key)
        if child is None:
            # finding a child by its labels costs more than counting
            child = self._children[key] = self._requests.labels(method, route, str(status))
        child.observe(seconds)

    def heard(self, event: JobEvent | None, job: Job) -> None:
        """A listener of the `JobStore`: keeps speeds, and counts first starts, ends and new attempts."""
        with self._lock:
            if job.state == "running":
                self._speeds[job.id] = (job.process, job.progress.unit, job.progress.rows_per_second)
            else:
                self._speeds.pop(job.id, None)
        if event is None:
            return
        if event.kind in ("retry", "handover"):
            self._retries.labels(job.process, event.kind).inc()
        elif event.kind == "state" and job.state == "running":
            # a job that is taken up again keeps the time of its first start
            first = job.started_at
            if first is not None and (event.at - first).total_seconds() < _SAME_START_SECONDS:
                self._waits.labels(job.process).observe(max((first - job.submitted_at).total_seconds(), 0.0))
        elif event.kind == "state" and job.state in FINAL:
            self._ended.labels(job.process, job.state).inc()
            if job.state == "failed" and job.failure is not None:
                self._failures.labels(job.process, job.failure.kind).inc()
            if job.started_at is not None and job.finished_at is not None:
                seconds = (job.finished_at - job.started_at).total_seconds()
                self._seconds.labels(job.process, job.state).observe(max(seconds, 0.0))

    def text(self, counts: Mapping[str, int] | None, cluster: ClusterState, readers: int) -> bytes:
        """Everything in Prometheus's format; ``counts`` are the jobs in each state, None while they are unknown."""
        if counts is None:
            # old numbers would pass for new ones
            self._jobs.clear()
        else:
            for state in _STATES:
                self._jobs.labels(state).set(counts.get(state, 0))
        self._tell_speeds()
        self._alive.set(int(cluster.alive))
        self._workers.set(cluster.workers)
        self._tasks.set(cluster.tasks)
        self.readers.set(readers)
        return generate_latest(self.registry)

    def _tell_speeds(self) -> None:
        with self._lock:
            # nothing of a process of which no job runs
            self._rate.clear()
            for process, unit, speed in self._speeds.values():
                self._rate.labels(process, unit).inc(speed)
