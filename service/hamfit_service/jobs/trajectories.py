"""Trajectories that a job made or is making: where each is, and its frames as NumPy arrays.

A rollout under way is read from its workspace, a finished one from its dataset. It may end between two looks, so a look
that finds neither is repeated.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hamfit.errors import DiskError, HamfitError, SpecError, StoreError
from hamfit_service.jobs.job import Job
from hamfit_service.jsonable import jsonable
from hamfit_service.wire import TrajectoryDocument

if TYPE_CHECKING:
    from hamfit.data.manifest import Manifest
    from hamfit.data.readable import Readable
    from hamfit.rollouts.workspace import Workspace

T = TypeVar("T")

MOST_BYTES = 64 * 2**20
"""Largest answer with frames; more are read in several requests."""

_LOOKS = 3


class FramesRefused(SpecError):
    """Frames that do not exist, or too many at once."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


def documents(job: Job, out: Path, initial: Path | None) -> list[TrajectoryDocument]:
    """Every trajectory of the dataset that is, or will be, at ``out``.

    ``initial`` is where the initial states of a rollout lie; without it those that have not begun are not known.
    """
    return _looked(lambda: _documents(job, out, initial)) or []


def frames(out: Path, name: str, start: int, stop: int | None, step: int) -> bytes | None:
    """Frames as an .npz archive; None when there is no such trajectory, or nothing of it can be read yet.

    Raises:
        FramesRefused: the frames do not exist, or are too many for one answer.
        StoreError: what is stored is damaged.

    """
    readable = _looked(lambda: _open(out, name))
    if readable is None:
        return None
    last = readable.n_frames
    stop = last if stop is None else stop
    if stop > last:
        raise FramesRefused("stop", f"there are {last} frames now; give at most {last}")
    if start > stop:
        raise FramesRefused("start", f"comes after stop ({stop}); give at most {stop}")
    count = len(range(start, stop, step))
    largest = max(1, MOST_BYTES // max(readable.bytes_per_frame(), 1))
    if count > largest:
        raise FramesRefused("stop", f"{count} frames are too many for one answer; ask for {largest} at a time")
    return _archive(readable, start, stop, step)


def _looked(look: Callable[[], T | None]) -> T | None:
    """What a look finds; what changed while it was read is looked at again."""
    for attempt in range(_LOOKS):
        try:
            found = look()
        except StoreError:
            if attempt == _LOOKS - 1:
                raise
            continue
        except OSError as error:
            if attempt == _LOOKS - 1:
                raise DiskError(
                    f"trajectories cannot be read ({error.strerror}); see to the disk and repeat"
                ) from error
            continue
        if found is not None:
            return found
    return None


def _documents(job: Job, out: Path, initial: Path | None) -> list[TrajectoryDocument] | None:
    from hamfit.rollouts import watching
    from hamfit.rollouts.workspace import workspace_of

    if (out / "_manifest.json").is_file():
        manifest = _manifest(out, (out / "_manifest.json").stat().st_mtime_ns)
        return [_published(job, entry) for entry in manifest.trajectories[: watching.MOST_NAMES]]
    workspace = workspace_of(out)
    return None if workspace is None else list(_running(job, workspace, initial))


def _running(job: Job, workspace: Workspace, initial: Path | None) -> Iterator[TrajectoryDocument]:
    from hamfit.rollouts import watching

    begun = workspace.begun()
    steps = int(job.inputs.get("steps") or 0)
    for name in _expected(job, workspace, initial) or begun:
        if name not in begun:
            yield _document(job, name, "waiting", 0, steps, 0, None)
            continue
        seen = watching.watched(workspace, name)
        status = "finished" if seen.finished else "running"
        yield _document(job, name, status, seen.step, max(steps, seen.step), seen.n_frames, seen.summary)


def _expected(job: Job, workspace: Workspace, initial: Path | None) -> tuple[str, ...]:
    """Names of all trajectories to be; none where they cannot be told."""
    from hamfit.rollouts import watching

    if initial is None:
        return ()
    asked = job.inputs
    try:
        return watching.expected(
            workspace.home, initial, asked["frames"], asked["replicas"], asked["temperature"], asked["seed"]
        )
    except (HamfitError, KeyError):
        return ()


def _published(job: Job, entry: Any) -> TrajectoryDocument:
    summary = entry.attrs.get("rollout")
    made = int(summary["steps"]) if isinstance(summary, dict) and "steps" in summary else max(entry.n_frames - 1, 0)
    return _document(job, entry.name, "finished", made, made, entry.n_frames, summary)


def _document(
    job: Job, name: str, status: Any, step: int, steps: int, n_frames: int, summary: Any
) -> TrajectoryDocument:
    return TrajectoryDocument(
        name=name,
        status=status,
        step=step,
        steps=steps,
        frames=n_frames,
        summary=jsonable(summary),
        href=f"/v1/jobs/{job.id}/results/trajectories/{name}",
    )


def _open(out: Path, name: str) -> Readable | None:
    from hamfit.rollouts import watching
    from hamfit.rollouts.workspace import workspace_of

    if (out / "_manifest.json").is_file():
        return watching.open_published(out, name)
    workspace = workspace_of(out)
    if workspace is None or name not in workspace.begun():
        return None
    return watching.open_running(workspace, name)


@lru_cache(maxsize=16)
def _manifest(path: Path, changed: int) -> Manifest:
    """The manifest of a dataset; ``changed`` makes another key of another dataset at the same path."""
    del changed
    from hamfit.data.manifest import read_manifest

    return read_manifest(path)


def _archive(readable: Readable, start: int, stop: int, step: int) -> bytes:
    import numpy as np

    arrays = readable.read(start, stop, step)
    if readable.labels:
        arrays["labels"] = np.array(readable.labels)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
