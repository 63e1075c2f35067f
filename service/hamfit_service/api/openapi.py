"""The OpenAPI document: what the declared operations say, and the models that only bodies and problems refer to."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from hamfit_service.api.operations import ALWAYS, BODIES, refused
from hamfit_service.wire import Problem

_DESCRIPTION = """
Fit Hamiltonians to trajectories and run them, as jobs. Names follow OGC API - Processes.

- Every refusal is a problem document (RFC 9457) whose `detail` says what to mend.
- Unknown fields and parameters are refused, and types are taken strictly: a number is not read from text.
- GET operations answer HEAD too.
- Send `Idempotency-Key` with an execution, and repeat it until it is answered: one job is made.
"""


def openapi_of(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    document = get_openapi(
        title="hamfit",
        version=version("hamfit"),
        summary="Learn the Hamiltonian of a particle system from its trajectories.",
        description=_DESCRIPTION,
        routes=app.routes,
        license_info={"name": "BSD-3-Clause"},
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in BODIES.values()]
    models.append((Problem, "serialization"))
    _, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")
    for name, schema in definitions["$defs"].items():
        schemas.setdefault(name, schema)
    # the framework's own form of validation errors, which is not sent here
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "Not needed on loopback while no token was made."}
    }
    for path in document["paths"].values():
        for operation in path.values():
            _complete(operation)
    app.openapi_schema = document
    return document


def _complete(operation: dict[str, Any]) -> None:
    scope = operation.pop("x-scope", None)
    responses = operation["responses"]
    if scope is None:
        for status in set(ALWAYS) - {401, 403, 422, 429, 503}:
            responses.setdefault(str(status), refused(status))
        return
    # an empty requirement: without a token, where the service allows it
    operation["security"] = [{"token": []}, {}]
    operation["description"] = f"{operation.get('description', '')}\n\nScope: `{scope}`.".strip()
