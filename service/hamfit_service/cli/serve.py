"""`hamfit serve`: accept jobs over HTTP, run them on a cluster, keep what they make."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hamfit.errors import SpecError
from hamfit_service.cli.console import JsonFlag, print_json, print_table

if TYPE_CHECKING:
    from hamfit_service.settings import Settings

_KEEP_ALIVE_SECONDS = 75
"""A client that looks every minute need not connect each time; an idle connection costs a few kilobytes."""

_GRACE_SECONDS = 5
"""Time for requests under way, once the service is told to end."""

_CLUSTER_SECONDS = 30.0
"""Time for the cluster to come up, when its settings are tried."""


def serve(
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file of settings; flags given here win.")
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on. Default 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on, 0 for any. Default 8741.")] = None,
    root: Annotated[
        Path | None, typer.Option("--root", help="Folder for jobs, models and database. Default ~/.local/share/hamfit.")
    ] = None,
    data_root: Annotated[
        list[Path] | None,
        typer.Option("--data-root", help="Folder that jobs may read; may be given again. Default the current one."),
    ] = None,
    database_url: Annotated[
        str | None, typer.Option("--database-url", help="Postgres instead of SQLite: postgresql+psycopg://...")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", help="local (default), local-cuda, or the address of a Dask scheduler.")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes of a local cluster.")] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads of each of its workers.")] = None,
    auth: Annotated[str | None, typer.Option("--auth", help="required asks for a token on loopback too.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Try all settings, say what is wrong, and stop.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Accept jobs over HTTP, run them on a cluster, and keep what they make."""
    from hamfit_service.settings import Settings

    settings = Settings.load(
        config,
        {
            "host": host,
            "port": port,
            "root": root,
            "data_roots": data_root or None,
            "database_url": database_url,
            "cluster": cluster,
            "workers": workers,
            "threads": threads,
            "auth": auth,
        },
    )
    if check:
        _check(settings, as_json=as_json)
        return
    _serve(settings)


def _serve(settings: Settings) -> None:
    import uvicorn

    from hamfit_service.api import create_app
    from hamfit_service.logging import set_up_logging
    from hamfit_service.service import Service

    set_up_logging(settings.log_format)
    # taken before anything is begun: a port that is in use is said at once
    listener = _listen(settings)
    service = Service.create(settings)
    name = f"[{settings.host}]" if ":" in settings.host else settings.host
    typer.echo(f"hamfit serves http://{name}:{listener.getsockname()[1]} from {service.folders.root}", err=True)
    config = uvicorn.Config(
        create_app(service),
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        lifespan="on",
    )

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            # streams of events would keep the server waiting for the whole grace
            service.hub.close()
            super().handle_exit(sig, frame)

    server = Server(config)
    # uvicorn sends itself the signal again once it has ended well; a service that was told to end has not failed
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    server.run(sockets=[listener])
    if not server.started:
        raise typer.Exit(1)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise SpecError(
            f"{settings.host}:{settings.port} cannot be listened on ({error.strerror or error}); choose another --port"
            " or --host"
        ) from error
    listener.set_inheritable(False)
    return listener


def _tried_address(settings: Settings) -> str:
    """Whether the service could listen where it is told to: `ok`, or a sentence that says why not."""
    try:
        _listen(settings).close()
    except SpecError as error:
        return str(error)
    return "ok"


def _check(settings: Settings, *, as_json: bool) -> None:
    """Try the address, start everything but the server, ask whether it is ready, and stop it again."""
    import asyncio

    from hamfit_service.clusters.host import come_up
    from hamfit_service.logging import set_up_logging
    from hamfit_service.service import Service

    set_up_logging(settings.log_format)

    address = _tried_address(settings)

    async def look() -> dict[str, Any]:
        service = Service.create(settings)
        await service.cluster.start()
        try:
            await come_up(service.cluster, _CLUSTER_SECONDS)
            found = await service.readiness()
            checks = {**found.checks, "database kind": service.database.engine.dialect.name}
            if service.database.is_sqlite:
                checks["journal"] = service.database.journal
            missing = [path.name for path in settings.data_roots if not path.is_dir()]
            checks["data roots"] = f"{', '.join(missing)}: no such folder" if missing else "ok"
            checks["address"] = address
            return {"ready": found.ready and not missing and address == "ok", "checks": checks}
        finally:
            await service.cluster.stop()
            service.close()

    found = asyncio.run(look())
    if as_json:
        print_json(found)
    else:
        print_table("Service", [("ready", found["ready"]), *found["checks"].items()])
    if not found["ready"]:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("serve")(serve)
