"""The application: routes, what surrounds them, and the life of the service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from hamfit.errors import HamfitError
from hamfit_service.api.bodies import BodyLimit
from hamfit_service.api.envelope import Envelope
from hamfit_service.api.gate import Gate
from hamfit_service.api.openapi import openapi_of
from hamfit_service.api.problems import Refusal, of_hamfit_error, of_http_exception, of_refusal
from hamfit_service.api.routes import events, jobs, models, processes, results, system, tokens
from hamfit_service.api.validation import of_parameters
from hamfit_service.security.hosts import AllowedHosts
from hamfit_service.security.rates import RateLimits
from hamfit_service.web import router as pages_of

if TYPE_CHECKING:
    from hamfit_service.service import Service


def build_app(service: Service, *, manage: bool) -> FastAPI:
    """The application that serves ``service``; with ``manage`` it starts and stops the service with itself."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        if not manage:
            yield
            return
        await service.start()
        try:
            yield
        finally:
            service.hub.close()
            await service.stop()

    app = FastAPI(title="hamfit", lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.service = service
    per_second = service.settings.requests_per_second
    app.state.rates = RateLimits(per_second, burst=max(1, int(2 * per_second)))
    service.store.listen(service.metrics.heard)
    handlers: dict[type[Exception], Callable[..., Response]] = {
        Refusal: of_refusal,
        HamfitError: of_hamfit_error,
        HTTPException: of_http_exception,
        RequestValidationError: of_parameters,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
    # the last one added is the outermost
    app.add_middleware(BodyLimit, max_body_bytes=service.settings.max_body_bytes)
    app.add_middleware(Gate, hosts=AllowedHosts.of(service.settings), metrics=service.metrics)
    app.add_middleware(Envelope, metrics=service.metrics)
    for part in (processes, jobs, results, events, models, tokens, system):
        # as they are: an included router is looked through anew at each request, and hides its methods from 405
        app.router.routes.extend(part.router.routes)
    app.router.routes.extend(pages_of(service).routes)
    app.openapi = partial(openapi_of, app)  # type: ignore[method-assign]

    def get_openapi() -> Response:
        """The OpenAPI document."""
        return JSONResponse(app.openapi())

    app.add_api_route("/openapi.json", get_openapi, include_in_schema=False)
    return app
