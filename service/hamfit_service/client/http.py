"""httpx, or one sentence about where to get it: the client is an extra, and the library works without it."""

from __future__ import annotations

from hamfit.errors import HamfitError


class ClientNotInstalled(HamfitError, ImportError):
    """httpx is not installed."""


try:
    import httpx
except ImportError as error:
    raise ClientNotInstalled(
        "the client speaks HTTP through httpx, which is not installed: pip install hamfit[client]"
    ) from error

__all__ = ["ClientNotInstalled", "httpx"]
