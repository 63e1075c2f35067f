"""Scripts and styles, served under names that hold a digest of their content, so that browsers keep them for ever."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

_FOR_EVER = "public, max-age=31536000, immutable"

_FILES = {
    "hamfit.css": "text/css",
    "hamfit.js": "text/javascript",
    "plots.js": "text/javascript",
    "icon.svg": "image/svg+xml",
    "vendor/htmx.min.js": "text/javascript",
    "vendor/uplot.iife.min.js": "text/javascript",
    "vendor/uplot.min.css": "text/css",
}


@dataclass(frozen=True, slots=True)
class _Asset:
    content: bytes
    packed: bytes
    media_type: str
    url: str


class Assets:
    """All static files, read once: they are few and small."""

    def __init__(self) -> None:
        """Read them from the package."""
        folder = files("hamfit_service.web") / "static"
        self._by_name = {name: _asset(name, (folder / name).read_bytes(), kind) for name, kind in _FILES.items()}
        self._by_url = {asset.url: asset for asset in self._by_name.values()}

    def url(self, name: str) -> str:
        """Where a file is served."""
        return self._by_name[name].url

    def serve(self, request: Request) -> Response:
        """Answer a request for a file; 404 for a name that never was, or no longer is."""
        asset = self._by_url.get(request.url.path)
        if asset is None:
            return Response("There is no such file.\n", 404, media_type="text/plain")
        headers: dict[str, Any] = {"Cache-Control": _FOR_EVER, "Vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(asset.packed, 200, {**headers, "Content-Encoding": "gzip"}, asset.media_type)
        return Response(asset.content, 200, headers, asset.media_type)


def _asset(name: str, content: bytes, media_type: str) -> _Asset:
    digest = hashlib.sha256(content).hexdigest()[:16]
    return _Asset(content, gzip.compress(content, mtime=0), media_type, f"/static/{digest}/{name}")
