"""The REST interface of the service: handlers parse, delegate and translate; what happens is decided elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from hamfit_service.service import Service

__all__ = ["create_app"]


def create_app(service: Service, *, manage: bool = True) -> FastAPI:
    """The application that serves ``service``; with ``manage`` it starts and stops the service with itself."""
    # imported late, for the service takes its hub and its metrics from this package
    from hamfit_service.api.app import build_app

    return build_app(service, manage=manage)
