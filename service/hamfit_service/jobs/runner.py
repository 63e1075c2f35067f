"""The process that runs one job: `python -m hamfit_service.jobs.runner`, begun by the service.

It loads the library, waits for a line on standard input that says what to run, and tells its progress on standard
output, one JSON object a line. How it ended is in `outcome.json`, written before it exits; an exit without one is a
crash. When standard input ends, the service is gone, and the process ends at once: the next service begins the job
again where its checkpoints are. It reads no database and opens no port.
"""

from __future__ import annotations

import _thread
import fcntl
import json
import os
import resource
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import structlog

from hamfit.errors import ClusterError, DeviceError, DiskError, HamfitError, TaskError
from hamfit.progress import Event
from hamfit_service.jobs.folders import JobFolder, write_whole
from hamfit_service.jobs.job import Failure, JobProgress
from hamfit_service.jobs.logs import JobLog
from hamfit_service.jsonable import jsonable
from hamfit_service.logging import set_up_logging
from hamfit_service.processes import Outputs, Process, Workplace, find_process, job_percent

_TELL_SECONDS = 0.25
_PREDECESSOR_SECONDS = 30.0
_ORPHANED = 3
#: Processes whose work goes to the cluster; the others run in this process, where they can be stopped at once.
ON_CLUSTER = frozenset({"fit", "rollout"})

_CONNECTIONS = ExitStack()
"""Keeps the client of the job until the process ends."""


class Channel:
    """Standard input and output, kept for the service alone: what libraries print goes to standard error."""

    def __init__(self) -> None:
        self._out: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self.stopped_for: str | None = None

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send one message; one that cannot be sent has no reader left."""
        with suppress(OSError, ValueError):
            self._out.write(json.dumps(message) + "\n")
            self._out.flush()

    def task(self) -> dict[str, Any] | None:
        """Wait for what to run; None when the service went away instead."""
        line = sys.stdin.readline()
        return json.loads(line) if line else None

    def watch(self) -> None:
        """Listen for the order to stop, and for the end of the service, from a thread of its own."""
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        for line in sys.stdin:
            order = json.loads(line)
            if "stop" in order and self.stopped_for is None:
                self.stopped_for = str(order["stop"])
                _thread.interrupt_main()
        os._exit(_ORPHANED)


class Listener:
    """Turns the events of a run into progress of the job."""

    def __init__(self, channel: Channel, process: Process, log: JobLog, percent: float) -> None:
        self._channel, self._process, self._log = channel, process, log
        self._percent, self._phase, self._told = percent, "", 0.0

    def __call__(self, event: Event, /) -> None:
        """Tell of a new phase at once, of anything else a few times a second."""
        # never backwards: a job that is taken up again begins a phase anew
        self._percent = max(self._percent, job_percent(self._process, event))
        now = time.monotonic()
        ended = event.total > 0 and event.done >= event.total
        if event.phase == self._phase and not ended and now - self._told < _TELL_SECONDS:
            return
        if event.phase != self._phase:
            self._log.write("info", f"{event.phase} begins")
        self._phase, self._told = event.phase, now
        self._channel.tell({"progress": self._progress(event).to_json()})

    def _progress(self, event: Event) -> JobProgress:
        count = f" {event.done:,} of {event.total:,}" if event.total else ""
        return JobProgress(
            phase=event.phase,
            percent=round(self._percent, 2),
            done=event.done,
            total=event.total,
            rows=event.rows,
            rows_per_second=round(event.rows_per_second, 3),
            unit=event.unit,
            remaining_seconds=event.remaining_seconds,
            peak_bytes=event.peak_bytes,
            message=f"{event.phase}{count}",
        )


def run(task: Mapping[str, Any], channel: Channel) -> Mapping[str, Any]:
    """Run a job to its end; the outcome is `succeeded` with a report, `failed` with a failure, or `stopped`."""
    folder = JobFolder(Path(task["folder"]))
    log = JobLog(folder.log)
    process = find_process(task["process"])
    try:
        with _alone(folder), _warnings_logged(log):
            report = _run(task, process, folder, Listener(channel, process, log, float(task["percent"])))
            write_whole(folder.results / "report.json", json.dumps(report).encode())
        return {"status": "succeeded", "report": report}
    except KeyboardInterrupt:
        return {"status": "stopped", "reason": channel.stopped_for or "interrupted"}
    except Exception as error:
        if channel.stopped_for is not None:
            # the interrupt was caught by compiled code, which makes another exception of it
            return {"status": "stopped", "reason": channel.stopped_for}
        failure = failure_of(error)
        if not isinstance(error, HamfitError):
            # standard error is the service's log; the user is told what kind of thing went wrong
            structlog.get_logger("hamfit.runner").exception("job crashed", process=process.name)
        return {"status": "failed", "failure": failure.to_json()}


def failure_of(error: Exception) -> Failure:
    """Whose failure an exception is, and the sentence about it."""
    name = type(error).__name__
    # nobody who submits a job chooses a device: workers take what they have
    if isinstance(error, DiskError | ClusterError | TaskError | DeviceError):
        return Failure("system", name, str(error))
    if isinstance(error, HamfitError):
        return Failure("user", name, str(error))
    if isinstance(error, MemoryError):
        return Failure("user", name, "the job needs more memory than it may have; ask for fewer particles or frames")
    if isinstance(error, OSError):
        return Failure("system", name, f"the system refused a file or connection ({error.strerror or name})")
    return Failure("system", name, f"the program failed ({name}); the service's log has the traceback of this job")


def _run(task: Mapping[str, Any], process: Process, folder: JobFolder, listener: Listener) -> Mapping[str, Any]:
    inputs = process.inputs.build(task["inputs"])
    paths = {(kind, reference): Path(path) for kind, reference, path in task["paths"]}
    on_cluster = process.name in ON_CLUSTER or task["inputs"].get("rollout") is True
    # Never left: saying goodbye takes a client a second, and the kernel closes its connection when this process ends.
    client = _CONNECTIONS.enter_context(_connected(task["cluster"])) if on_cluster else None
    workplace = Workplace(
        outputs=Outputs(main=folder.results / process.output, report=folder.report),
        resolve=lambda kind, reference: paths[kind, reference],
        client=client,
        progress=listener,
        threads=int(task["threads"]),
        # nothing but an earlier attempt of this job can have left something there
        overwrite=process.name in ("fit", "ingest", "simulate"),
    )
    found: Mapping[str, Any] = jsonable(process.run(inputs, workplace))
    return found


def _connected(connection: Mapping[str, str]) -> Any:
    from hamfit_service.clusters.host import connect

    return connect(connection)


@contextmanager
def _alone(folder: JobFolder) -> Iterator[None]:
    """Hold the lock of the job: the runner of a service that was killed may take a moment to end."""
    folder.make()
    descriptor = os.open(folder.path / "runner.lock", os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + _PREDECESSOR_SECONDS
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ClusterError("an earlier attempt of this job has not ended; it is tried again") from None
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _warnings_logged(log: JobLog) -> Iterator[None]:
    """Write warnings into the job's log."""

    def show(message: Warning | str, *others: Any, **more: Any) -> None:
        del others, more
        log.write("warning", str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        yield


def _limit_memory(limit_bytes: int) -> None:
    """Refuse memory beyond the limit, so that one job fails and not the machine."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or hard > limit_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, hard))


def _load() -> None:
    """Import what every job needs, while there is nothing to run yet."""
    import distributed  # noqa: F401

    import hamfit.fitting
    import hamfit.rollouts  # noqa: F401
    import hamfit_service.clusters.host  # noqa: F401


def main() -> None:
    """Wait for a job, run it, keep the outcome."""
    channel = Channel()
    _load()
    channel.tell({"ready": True})
    task = channel.task()
    if task is None:
        return
    channel.watch()
    _limit_memory(int(task["memory_bytes"]))
    set_up_logging(task["log_format"])
    structlog.contextvars.bind_contextvars(job=task["job"])
    # told to stop in this very moment, or a disk that takes nothing: no outcome, and the job is taken up again
    with suppress(KeyboardInterrupt, DiskError):
        JobFolder(Path(task["folder"])).keep_outcome({**run(task, channel), "attempt": task["attempt"]})
    # a client that is slow to close must not keep a finished job from being finished
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
