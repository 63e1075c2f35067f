"""What a task without a result means: the cluster's fault, the machine's, or what the library itself said."""

from __future__ import annotations

import pytest

from hamfit.errors import ClusterError, DataError, HamfitError, TaskError
from hamfit.tasks.cluster import task_error


class KilledWorker(Exception):
    """Named as distributed names it."""


@pytest.mark.parametrize(
    "error, kind, words",
    [
        (DataError("frame 3 is empty"), DataError, "frame 3 is empty"),
        (None, ClusterError, "repeat the fit"),
        (KilledWorker("leaf-1"), ClusterError, "memory"),
        (OSError("no space"), TaskError, "a worker failed"),
    ],
)
def test_each_ending_is_told_as_what_it_is(error: Exception | None, kind: type[HamfitError], words: str) -> None:
    found = task_error(error, "lost", "repeat the fit")
    assert type(found) is kind
    assert words in str(found)
