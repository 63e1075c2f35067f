"""Every exception that hamfit raises on purpose.

HamfitError
├── DataError      trajectories that cannot be used as they are
├── StoreError     a Zarr store that is damaged, locked, incomplete or too new
│   └── DiskError      a disk that is full, read-only or failing: nothing is wrong with what was asked
├── GraphError     particles that cannot be joined into a graph
├── FeatureError   blocks that cannot be sampled from the data at hand
├── FitError       a fit that cannot be carried out
├── RolloutError   a rollout that cannot be carried out
├── ClusterError   workers or their scheduler were lost: what was done is kept, and repeating it goes on there
├── TaskError      a task on a worker failed for a reason that is not the data's: a fault of the machine or of hamfit
├── DeviceError    a GPU that is asked for and cannot be used, or has no room
├── ModelError     a model asked for something it does not know
└── SpecError      options that contradict each other or name unknown things

Each message is one sentence that names the thing, the reason and the fix. Exceptions of other libraries are
translated where they enter, so that a caller needs to know this tree only.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class FitWarning(UserWarning):
    """A fit went through, but its user should know something: too few rows, lost digits, a poor sample."""


class RolloutWarning(UserWarning):
    """A rollout went through, but its user should know something: pairs out of range, states that blew up."""


class HamfitError(Exception):
    """Base of all exceptions raised on purpose; the command line turns it into exit code 2."""


class DataError(HamfitError):
    """The trajectories cannot be used as they are."""


class StoreError(HamfitError):
    """A Zarr store is damaged, locked, incomplete or written by a newer version."""


class DiskError(StoreError):
    """A disk is full, read-only or failing; the same call succeeds once it is mended."""


class GraphError(HamfitError):
    """The particles cannot be joined into a graph."""


class FeatureError(HamfitError):
    """A block cannot be sampled from the data at hand."""


class FitError(HamfitError):
    """A fit cannot be carried out."""


class RolloutError(HamfitError):
    """A rollout cannot be carried out."""


class ClusterError(HamfitError):
    """Workers or their scheduler were lost; the same call succeeds on a cluster that lives."""


class TaskError(HamfitError):
    """A task on a worker failed for a reason that is not the data's: a fault of the machine or of hamfit."""


class DeviceError(HamfitError):
    """A GPU is asked for and cannot be used, or has no room; nothing is wrong with the data."""


class ModelError(HamfitError):
    """A model is asked for something it does not know."""


class SpecError(HamfitError):
    """Options contradict each other or name unknown things."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, or all of them where none is near."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean '{close[0]}'" if close else f"use one of {', '.join(names)}"


@contextmanager
def located(path: str | Path, trajectory: str, frame: int) -> Iterator[None]:
    """Name the frame in any error of ours that the block raises."""
    try:
        yield
    except HamfitError as error:
        raise type(error)(f"{path}, trajectory {trajectory}, frame {frame}: {error}") from error
