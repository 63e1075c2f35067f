"""What a task on a cluster that gave no result means, for fits and rollouts alike."""

from __future__ import annotations

from hamfit.errors import ClusterError, HamfitError, TaskError


def task_error(error: BaseException | None, status: str, again: str) -> BaseException:
    """The exception for a task that ended without a result.

    Args:
        error: what the task raised; None when it was lost or cancelled.
        status: the state of its future.
        again: what to do then, such as "repeat the fit, which takes up where it was".

    Returns:
        Our own exceptions as they are; ClusterError for tasks whose workers were lost; TaskError for anything else.

    """
    if isinstance(error, HamfitError):
        return error
    if error is None:
        return ClusterError(f"a task was {status}: the cluster lost it; {again}")
    name = type(error).__name__
    if name == "KilledWorker":
        return ClusterError(
            f"a task's workers died one after another ({error}): see to their memory, and {again}"
        )
    return TaskError(f"a worker failed ({name}: {error}); see the worker's log for the traceback")
