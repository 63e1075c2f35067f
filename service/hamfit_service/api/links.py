"""OpenAPI links: how what one operation answers leads to the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ID = "$response.body#/id"


def _link(operation: str, description: str, **parameters: str) -> dict[str, Any]:
    return {"operationId": operation, "parameters": parameters, "description": description}


JOB_LINKS: Mapping[str, Any] = {
    "job": _link("get_job", "The job, as it goes on.", job_id=_ID),
    "dismiss": _link("dismiss_job", "Stop the job.", job_id=_ID),
    "results": _link("get_results", "What the job makes.", job_id=_ID),
    "trajectories": _link("list_trajectories", "Its trajectories, while they run.", job_id=_ID),
    "logs": _link("get_logs", "What the job tells.", job_id=_ID),
    "events": _link("watch_job", "What happens to the job.", job_id=_ID),
    "publish": {
        "operationId": "publish_model",
        "requestBody": {"name": "liquid", "job": _ID},
        "description": "Publish the model of a finished fit.",
    },
}
"""From a job to all about it."""

MODEL_LINKS: Mapping[str, Any] = {
    "model": _link(
        "get_model_version", "This version.", name="$response.body#/name", version="$response.body#/version"
    ),
    "newest": _link("get_model", "The newest version.", name="$response.body#/name"),
}
"""From a version of a model to it and its newest."""

TOKEN_LINKS: Mapping[str, Any] = {"revoke": _link("revoke_token", "Revoke the token.", token_id=_ID)}
"""From a token to its end."""
