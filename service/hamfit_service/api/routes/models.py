"""Published models."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from hamfit.errors import SpecError
from hamfit_service.api.documents import redacted
from hamfit_service.api.downloads import TAR, send
from hamfit_service.api.links import MODEL_LINKS
from hamfit_service.api.operations import AnyCall, Call, CallWithBody, answer, operation
from hamfit_service.api.problems import Refusal
from hamfit_service.api.validation import read_model
from hamfit_service.jobs.results import Found
from hamfit_service.processes.references import MODEL_NAME_PATTERN
from hamfit_service.registry.models import ModelNotFound
from hamfit_service.wire import ModelDocument, ModelList, ModelRequest, ProblemField

router = APIRouter(tags=["models"])

Name: TypeAlias = Annotated[str, Path(pattern=MODEL_NAME_PATTERN, description="Name of the model.")]
Version: TypeAlias = Annotated[int, Path(ge=1, le=999_999_999, description="Number of the version.")]


@operation(router, "GET", "/v1/models", scope="read", answers=ModelList, summary="Published models.")
def list_models(
    call: AnyCall,
    name: Annotated[str | None, Query(pattern=MODEL_NAME_PATTERN, description="Only versions of this model.")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="Most versions of one page.")] = 50,
    after: Annotated[
        str | None, Query(pattern=r"^[\x21-\x7e]{1,100}$", description="`next` of the page before.")
    ] = None,
) -> Response:
    """A page of versions, the newest first."""
    try:
        page = call.service.registry.page(name=name, limit=limit, after=after)
    except ModelNotFound:
        message = f"there is no model {after}; give the `next` of a page before"
        raise Refusal(422, f"after: {message}", [ProblemField(field="after", message=message)]) from None
    return answer(page.model_copy(update={"models": [_redacted(call, model) for model in page.models]}))


@operation(
    router,
    "POST",
    "/v1/models",
    scope="submit",
    answers=ModelDocument,
    status=201,
    summary="Publish the model of a finished fit.",
    refusals=(404, 409),
    body=ModelRequest,
    examples={"publish a fit": {"name": "liquid", "job": "1f2e3d4c5b6a7980"}},
    headers={"Location": "Path of the version."},
    links=MODEL_LINKS,
)
def publish_model(call: CallWithBody) -> Response:
    """Give the model of a finished fit a name and the next version. Publishing the same job again changes nothing.

    Only the owner of the job may, or an administrator.
    """
    asked, _ = read_model(call.body, ModelRequest)
    service = call.service
    job = service.store.get(asked.job)
    service.check_owner(job, call.identity)
    try:
        model = service.registry.publish(asked.name, job, call.identity.owner)
    except SpecError as error:
        raise Refusal(422, f"job: {error}", [ProblemField(field="job", message=str(error))]) from None
    location = f"/v1/models/{model.name}/{model.version}"
    return answer(_redacted(call, model), 201, {"Location": location})


@operation(
    router,
    "GET",
    "/v1/models/{name}",
    scope="read",
    answers=ModelDocument,
    summary="The newest version of a model.",
    refusals=(404, 409),
    links=MODEL_LINKS,
)
def get_model(call: AnyCall, name: Name) -> Response:
    """The newest version, which `NAME` means in a request."""
    return answer(_redacted(call, call.service.registry.get(name, None)))


@operation(
    router,
    "GET",
    "/v1/models/{name}/{version}",
    scope="read",
    answers=ModelDocument,
    summary="A version of a model.",
    refusals=(404, 409),
)
def get_model_version(call: AnyCall, name: Name, version: Version) -> Response:
    """Who published it when, from what, and how well it fits."""
    return answer(_redacted(call, call.service.registry.get(name, version)))


@operation(
    router,
    "GET",
    "/v1/models/{name}/{version}/files",
    scope="read",
    answers=None,
    content={TAR: {"schema": {"type": "string", "format": "binary"}}},
    summary="The files of a version.",
    refusals=(404, 409),
)
def get_model_files(call: AnyCall, name: Name, version: Version) -> Response:
    """The model as a tar archive of one folder, which `hamfit` and its Python API open."""
    call.service.registry.get(name, version)
    return send(Found(call.service.registry.path(name, version), f"{name}-{version}", is_folder=True))


def _redacted(call: Call, model: ModelDocument) -> ModelDocument:
    redact = call.service.confinement.redacted
    changes = {"lineage": redacted(model.lineage, redact), "summary": redacted(model.summary, redact)}
    return model.model_copy(update=changes)
