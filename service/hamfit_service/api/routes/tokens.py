"""Tokens, for administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from hamfit_service.api.links import TOKEN_LINKS
from hamfit_service.api.operations import AnyCall, CallWithBody, answer, operation
from hamfit_service.api.validation import read_model
from hamfit_service.wire import TokenDocument, TokenList, TokenRequest, TokenSecret

router = APIRouter(tags=["tokens"])


@operation(router, "GET", "/v1/tokens", scope="admin", answers=TokenList, summary="All tokens.")
def list_tokens(call: AnyCall) -> Response:
    """Every token that was made, without its secret."""
    return answer(call.service.tokens.all())


@operation(
    router,
    "POST",
    "/v1/tokens",
    scope="admin",
    answers=TokenSecret,
    status=201,
    summary="Make a token.",
    body=TokenRequest,
    examples={"for a colleague": {"owner": "ada", "scopes": ["read", "submit"], "expires_in_days": 90}},
    links=TOKEN_LINKS,
)
def create_token(call: CallWithBody) -> Response:
    """The answer holds the token, this once; only its hash is kept."""
    asked, _ = read_model(call.body, TokenRequest)
    return answer(call.service.tokens.create(asked), 201)


@operation(
    router,
    "DELETE",
    "/v1/tokens/{token_id}",
    scope="admin",
    answers=TokenDocument,
    summary="Revoke a token.",
    refusals=(404,),
)
def revoke_token(
    call: AnyCall,
    token_id: Annotated[str, Path(pattern=r"^[A-Za-z0-9]{1,16}$", description="Id of the token.")],
) -> Response:
    """It is refused within seconds."""
    return answer(call.service.tokens.revoke(token_id))
