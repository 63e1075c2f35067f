"""Where the dashboard of a scheduler that others run is, when there is one and it can be reached from here.

Every scheduler names an HTTP port, and only some have a dashboard behind it: not without bokeh, nor with
`--no-dashboard`. So a file that every dashboard serves is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

ANSWER_SECONDS = 2.0

_SURE_FILE = "/static/js/bokeh.min.js"


async def dashboard_link(address: str, identity: Mapping[str, Any]) -> str | None:
    """Address of the dashboard's first page; ``address`` is the scheduler's, ``identity`` what it says of itself."""
    port = dict(identity.get("services") or {}).get("dashboard")
    host = address.partition("://")[2].rpartition(":")[0]
    if not isinstance(port, int) or not host:
        return None
    try:
        is_there = await asyncio.wait_for(_has(host, port), ANSWER_SECONDS)
    except (OSError, TimeoutError, ValueError):
        return None
    return f"http://{host}:{port}/status" if is_there else None


async def _has(host: str, port: int) -> bool:
    reader, writer = await asyncio.open_connection(host.strip("[]"), port)
    try:
        writer.write(f"HEAD {_SURE_FILE} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        words = (await reader.readline()).split()
        return len(words) > 1 and words[1] == b"200"
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
