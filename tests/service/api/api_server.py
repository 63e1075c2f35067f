"""A real service behind a real server: uvicorn in a thread, SQLite in a folder, no cluster unless a test starts one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from hamfit_service.api import create_app
from hamfit_service.service import Service
from hamfit_service.settings import Settings


@contextmanager
def served(service: Service, *, manage: bool = False, **headers: str) -> Iterator[httpx.Client]:
    """A client of a server of ``service`` on a free port."""
    config = uvicorn.Config(
        create_app(service, manage=manage), host="127.0.0.1", port=0, log_config=None, timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    begun = threading.Event()

    async def run() -> None:
        task = asyncio.create_task(server.serve())
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        begun.set()
        await task

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert begun.wait(60)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as client:
            yield client
    finally:
        service.hub.close()
        server.should_exit = True
        thread.join(60)


def settings_for(root: Path, **changes: Any) -> Settings:
    """Settings of a small service whose data lie in ``root/data``."""
    (root / "data").mkdir(exist_ok=True)
    given = {"root": root / "service", "data_roots": (root / "data",), "min_free_bytes": 0, **changes}
    return Settings(**{"requests_per_second": 100_000.0, **given})
