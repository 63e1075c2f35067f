"""Watching a job to its end: by its stream of events, and by asking for it where there is no stream."""

from __future__ import annotations

from time import monotonic

from hamfit_service.client.effects import Answer, Call, Emit, Flow, Open, Pause, Read, Unreachable
from hamfit_service.client.errors import JobFailed, StillRunning, error_of
from hamfit_service.client.events import EventParser, JobUpdate
from hamfit_service.client.requests import ask_for
from hamfit_service.wire import JobDocument

FINAL = frozenset({"succeeded", "failed", "dismissed"})

_SILENCE_SECONDS = 40.0
"""A service says that it lives every 15 seconds; after some of these missed, the stream is taken for dead."""

_LOOK_SECONDS = 1.0
_MOST_LOOKS = 16


def watch(path: str, patience: float, deadline: float | None = None) -> Flow[JobDocument]:
    """Emit updates of the job at ``path`` until it is over, and return it as it ended.

    A stream that breaks is opened again after the last event that was heard. Where there is none to be had (too many
    readers, a proxy that holds it back), the job is asked for once a second, and the stream tried ever more seldom.

    Raises:
        StillRunning: the time ``deadline`` (of `monotonic`) has come.
        ServerError: as `ask`; the server may be away for ``patience`` seconds.

    """
    parser = EventParser()
    told: JobUpdate | None = None
    failures = 0
    looks_until_stream = 0
    while True:
        if looks_until_stream > 0:
            looks_until_stream -= 1
        else:
            before = parser.last_id
            is_good = yield from _listen(path, parser, deadline)
            failures = 0 if is_good or parser.last_id != before else failures + 1
            looks_until_stream = min(2**failures, _MOST_LOOKS) - 1
        job = yield from ask_for(JobDocument, Call("GET", path), patience)
        if job.status in FINAL:
            yield Emit(JobUpdate("end", job.status, job.progress, job=job))
            return job
        update = JobUpdate("progress", job.status, job.progress)
        if update != told:
            told = update
            yield Emit(update)
        _check_time(job.id, deadline)
        yield Pause(_LOOK_SECONDS)


def _listen(path: str, parser: EventParser, deadline: float | None) -> Flow[bool]:
    """Emit what one stream tells, and return whether it told anything before it ended or broke."""
    parser.restart()
    headers = {"accept": "text/event-stream"}
    if parser.last_id is not None:
        headers["last-event-id"] = str(parser.last_id)
    silence = _SILENCE_SECONDS if deadline is None else max(0.1, min(_SILENCE_SECONDS, deadline - monotonic()))
    is_good = False
    try:
        answer: Answer = yield Open(Call("GET", f"{path}/events", headers=headers, silence_seconds=silence))
        if answer.status in (401, 403, 404):
            raise error_of(answer)  # asking for the job would say the same
        if answer.status != 200 or "text/event-stream" not in answer.headers.get("content-type", ""):
            return answer.status == 204
        while (piece := (yield Read())) is not None:
            for update in parser.feed(piece):
                is_good = True
                yield Emit(update)
                if update.kind == "state" and update.status in FINAL:
                    return True
            if deadline is not None and monotonic() > deadline:
                return True
    except Unreachable as error:
        if deadline is None or monotonic() < deadline:
            yield Emit(JobUpdate("away", message=str(error)))
    except ValueError as error:
        yield Emit(JobUpdate("away", message=f"the stream of events cannot be read ({error})"))
        return False
    return is_good


def wait(path: str, patience: float, timeout: float | None, *, check: bool) -> Flow[JobDocument]:
    """As `watch`, without a word; JobFailed unless the job succeeded, where ``check`` asks for it."""
    deadline = None if timeout is None else monotonic() + timeout
    job = yield from _quietly(watch(path, patience, deadline))
    if check and job.status != "succeeded":
        raise JobFailed(job)
    return job


def _quietly(flow: Flow[JobDocument]) -> Flow[JobDocument]:
    """The same flow without what it emits."""
    effect = next(flow)
    while True:
        try:
            if isinstance(effect, Emit):
                effect = flow.send(None)
                continue
            try:
                found = yield effect
            except Exception as error:
                effect = flow.throw(error)
            else:
                effect = flow.send(found)
        except StopIteration as end:
            job: JobDocument = end.value
            return job


def _check_time(job_id: str, deadline: float | None) -> None:
    if deadline is not None and monotonic() > deadline:
        raise StillRunning(f"job {job_id} is not over in the time given; it goes on, wait again or dismiss it")
