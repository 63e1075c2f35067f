"""What jobs made: documents about it, files, stores, and trajectories while they run."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from hamfit.errors import HamfitError
from hamfit_service.api.documents import REPORT, report_content, results_document
from hamfit_service.api.downloads import BINARY, TAR, send, send_content
from hamfit_service.api.operations import JSON, AnyCall, Call, JobId, answer, operation
from hamfit_service.jobs.job import Job
from hamfit_service.jobs.results import ResultNotFound
from hamfit_service.wire import ResultsDocument, TrajectoryList

router = APIRouter(tags=["results"])

_BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_MOST = 2**53 - 1


@operation(
    router,
    "GET",
    "/v1/jobs/{job_id}/results",
    scope="read",
    answers=ResultsDocument,
    summary="What a job made.",
    refusals=(404,),
)
def get_results(call: AnyCall, job_id: JobId) -> Response:
    """The report and the outputs, as far as they are; `complete` says whether more will come."""
    service = call.service
    document = service.results.document(service.store.get(job_id))
    return answer(results_document(document, service.confinement.redacted))


@operation(
    router,
    "GET",
    "/v1/jobs/{job_id}/results/files/{path:path}",
    scope="read",
    answers=None,
    content={TAR: _BYTES, BINARY: _BYTES, JSON: {"schema": {}}, "text/html": {"schema": {"type": "string"}}},
    summary="A file or store that a job made.",
    refusals=(404,),
)
def get_result_file(
    call: AnyCall, job_id: JobId, path: Annotated[str, Path(description="Path within the results.")]
) -> Response:
    """A file as it is; a store, or any other folder, as a tar archive; `report.json` as the results tell it."""
    job = call.service.store.get(job_id)
    found = call.service.results.find(job, path)
    if path != REPORT:
        return send(found)
    if job.result is None:
        raise ResultNotFound(f"job {job.id} has no result '{REPORT}' yet; ask again once it has ended")
    return send_content(report_content(job.result, call.service.confinement.redacted), found.name)


@operation(
    router,
    "GET",
    "/v1/jobs/{job_id}/results/trajectories",
    scope="read",
    answers=TrajectoryList,
    summary="Trajectories of a job, also while it runs.",
    refusals=(404, 409),
)
def list_trajectories(call: AnyCall, job_id: JobId) -> Response:
    """Every trajectory with the steps made and the frames that can be read now."""
    job = call.service.store.get(job_id)
    return answer(call.service.results.trajectories(job, _initial(call, job)))


@operation(
    router,
    "GET",
    "/v1/jobs/{job_id}/results/trajectories/{name}",
    scope="read",
    answers=None,
    content={BINARY: _BYTES},
    summary="Frames of a trajectory.",
    refusals=(404, 409),
)
def get_frames(
    call: AnyCall,
    job_id: JobId,
    name: Annotated[str, Path(description="Name of the trajectory.")],
    start: Annotated[int, Query(ge=0, le=_MOST, description="First frame.")] = 0,
    stop: Annotated[int | None, Query(ge=0, le=_MOST, description="Frame after the last; by default the end.")] = None,
    step: Annotated[int, Query(ge=1, le=_MOST, description="Take every so many frames.")] = 1,
) -> Response:
    """Frames as a NumPy .npz archive: step and time (T,), position, velocity and more (T, N, d), species and mass (N,).

    Of a rollout that runs, those that are on disk by now.
    """
    content = call.service.results.frames(call.service.store.get(job_id), name, start, stop, step)
    headers = {"Content-Disposition": 'attachment; filename="frames.npz"'}
    return Response(content, headers=headers, media_type=BINARY)


def _initial(call: Call, job: Job) -> FilePath | None:
    """Where the initial states of a rollout under way lie, which tell the names of trajectories that wait."""
    if job.process != "rollout" or job.is_final:
        return None
    try:
        return call.service.confinement("dataset", job.inputs["initial"])
    except HamfitError:
        return None
