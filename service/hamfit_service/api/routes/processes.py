"""Processes: what they take, and asking for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Header, Path
from starlette.responses import Response

from hamfit_service.api.documents import job_document, process_document
from hamfit_service.api.links import JOB_LINKS
from hamfit_service.api.operations import AnyCall, CallWithBody, answer, operation
from hamfit_service.api.problems import Refusal
from hamfit_service.api.validation import read_model
from hamfit_service.processes import PROCESSES, Process
from hamfit_service.wire import JobDocument, ProblemField, ProcessDocument, ProcessList

router = APIRouter(tags=["processes"])

EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "fit": {"fit a liquid and publish it": {"data": ["seen.zarr"], "cutoff": 2.5, "publish": "liquid"}},
    "rollout": {
        "run the newest model": {"model": "liquid", "initial": "unseen.zarr", "steps": 5000, "dt": 0.002},
    },
    "evaluate": {
        "errors of forces": {"model": "liquid@1", "data": "unseen.zarr"},
        "along a trajectory": {"model": "liquid@1", "data": "unseen.zarr", "rollout": True},
    },
    "ingest": {"a LAMMPS dump": {"files": ["run.lammpstrj"], "units": "lj", "energies": "run.csv"}},
    "simulate": {"a ring of springs": {"system": "spring", "options": {}}},
}
"""Bodies that show what each process takes."""

_KEY_PATTERN = r"^[\x20-\x7e]{1,255}$"

IdempotencyKey: TypeAlias = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=_KEY_PATTERN,
        description="Any text of 1 to 255 printable ASCII characters. The same request with the same key makes one job,"
        " however often it is sent.",
    ),
]

_DOCUMENTS = {name: process_document(process) for name, process in PROCESSES.items()}


@operation(router, "GET", "/v1/processes", scope="read", answers=ProcessList, summary="All processes.")
def list_processes(call: AnyCall) -> Response:
    """Each process with the JSON schema of what it takes."""
    del call
    return answer(ProcessList(processes=list(_DOCUMENTS.values())))


@operation(
    router,
    "GET",
    "/v1/processes/{process}",
    scope="read",
    answers=ProcessDocument,
    summary="One process.",
    refusals=(404,),
)
def get_process(call: AnyCall, process: Annotated[str, Path(description="Its name.")]) -> Response:
    """A process with the JSON schema of what it takes."""
    del call
    if process not in _DOCUMENTS:
        raise _unknown(process)
    return answer(_DOCUMENTS[process])


def _add_execution(process: Process) -> None:
    """The path that asks for one process, with its own body in the OpenAPI document."""

    def execute(call: CallWithBody, idempotency_key: IdempotencyKey = None) -> Response:
        inputs, sent = read_model(call.body, process.inputs)
        keys = call.request.headers.getlist("idempotency-key")
        if len(keys) > 1:
            message = "is given more than once; give it once"
            raise Refusal(422, f"Idempotency-Key: {message}", [ProblemField(field="Idempotency-Key", message=message)])
        job, replayed = call.service.submit(
            process.name, inputs, call.identity, idempotency_key=idempotency_key, request=sent
        )
        headers = {"Location": f"/v1/jobs/{job.id}"}
        if replayed:
            headers["Idempotency-Replayed"] = "true"
        return answer(job_document(job, call.service.confinement.redacted), 201, headers)

    execute.__doc__ = (
        f"{process.summary} The job is accepted at once and runs when its turn comes. References are confined to the"
        " folders that the service may read, to outputs of jobs (`job:ID`) and to published models (`NAME@VERSION`, or"
        " `NAME` for the newest)."
    )
    operation(
        router,
        "POST",
        f"/v1/processes/{process.name}/execution",
        scope="submit",
        answers=JobDocument,
        status=201,
        summary=f"Ask for {process.name}.",
        body=process.inputs,
        examples=EXAMPLES[process.name],
        headers={
            "Location": "Path of the job.",
            "Idempotency-Replayed": "true where the key was seen before, and the job is the one of then.",
        },
        links=JOB_LINKS,
        title=f"execute_{process.name}",
    )(execute)


for _process in PROCESSES.values():
    _add_execution(_process)


@router.post("/v1/processes/{process}/execution", include_in_schema=False)
def execute_unknown(process: str) -> Response:
    """Say which processes there are."""
    raise _unknown(process)


def _unknown(process: str) -> Refusal:
    names = ", ".join(PROCESSES)
    message = f"is no process; use one of {names}"
    return Refusal(404, f"'{process[:60]}' {message}", [ProblemField(field="process", message=message)])
