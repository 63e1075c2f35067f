"""How a scheduler is reached: its address and, off this machine always, TLS. Plain JSON, so that a runner can be told.

Dask runs what it is sent, with the rights of the process that runs it: who can open a connection owns the workers.
So a plain connection is accepted only where the address cannot be reached from another machine.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hamfit.errors import ClusterError, SpecError

if TYPE_CHECKING:
    from distributed import Client, Security

CONNECT_SECONDS = 10.0
"""How long to wait for a scheduler; arbitrary, but far above a round trip."""

WORKERS_SECONDS = 30.0
"""How long to wait for the first worker: a nanny may be starting a lost one again."""

TLS_NAMES = ("tls_ca", "tls_cert", "tls_key")

_SETTINGS = "tls_ca, tls_cert and tls_key"


def checked_address(address: str, certificates: Mapping[str, Path | None], remedy: str = _SETTINGS) -> str:
    """The address of a scheduler, where it may be used as it is; ``remedy`` says how certificates are given.

    Raises:
        SpecError: it is none, or other machines could send tasks to it without a certificate, or one is missing.

    """
    scheme, _, rest = address.partition("://")
    host, _, port = rest.rpartition(":")
    if scheme not in ("tcp", "tls") or not host or not port.isdigit():
        raise SpecError(
            f"cluster '{address}' is neither local nor local-cuda nor the address of a scheduler; write"
            " tls://HOST:PORT, or tcp://127.0.0.1:PORT on this machine"
        )
    if scheme == "tcp" and not _is_loopback(host.strip("[]")):
        raise SpecError(
            f"cluster '{address}' is not on this machine, and anybody who reaches it could run programs there; start"
            f" the scheduler with TLS, write tls://HOST:PORT and give {remedy}"
        )
    if scheme == "tls" and not all(certificates.get(name) for name in TLS_NAMES):
        raise SpecError(f"cluster '{address}' needs certificates; give {remedy}")
    for name in TLS_NAMES if scheme == "tls" else ():
        path = certificates[name]
        if path is not None and not path.is_file():
            raise SpecError(f"{name} '{path}' is not a file; deploy/certificates makes one")
    return address


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def security_of(connection: Mapping[str, str]) -> Security | None:
    """The certificates of a connection, as Dask takes them; None for a plain one."""
    if "tls_ca" not in connection:
        return None
    from distributed import Security

    return Security(
        tls_ca_file=connection["tls_ca"],
        tls_client_cert=connection["tls_cert"],
        tls_client_key=connection["tls_key"],
        require_encryption=True,
    )


def connection_arguments(connection: Mapping[str, str]) -> dict[str, Any]:
    """What a single Dask connection is opened with."""
    security = security_of(connection)
    return {} if security is None else dict(security.get_connection_args("client"))


@contextmanager
def connect(connection: Mapping[str, str]) -> Iterator[Client]:
    """A client of the scheduler, with at least one worker; on leaving, the cluster stays as it is.

    Raises:
        ClusterError: the scheduler does not answer, or no worker comes.

    """
    from distributed import Client

    address = connection["address"]
    try:
        client = Client(address, timeout=CONNECT_SECONDS, security=security_of(connection))
    except (OSError, ValueError, TimeoutError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at '{address}'; see whether it runs and whether its certificates are these"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKERS_SECONDS)
        except TimeoutError as error:
            raise ClusterError(f"the scheduler at '{address}' has no workers; start some with `dask worker`") from error
        yield client
