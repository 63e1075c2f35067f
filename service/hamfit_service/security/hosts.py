"""From where a service may be called by a browser.

A service on loopback needs no token, and so it must not be reached through the browser of somebody who looks at a
foreign page. Such a page cannot choose the headers Host and Origin: with DNS rebinding the Host is its own name, with a
cross-site post the Origin is. Both must name this service. Programs send no Origin, and are asked for the Host alone.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from hamfit_service.settings import Settings

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """The names of a service, without ports: a tunnel or proxy in front of it may have another."""

    names: frozenset[str]
    """Lower case, addresses in their shortest form."""

    @classmethod
    def of(cls, settings: Settings) -> AllowedHosts:
        """Loopback, the bound address, and what the settings allow.

        A service that listens on every address cannot know its names: they must be in the settings, except for its
        addresses, which no DNS name can be rebound to look like.
        """
        return cls(frozenset(_plain(name) for name in (*_LOOPBACK, settings.host, *settings.allowed_hosts)))

    def host(self, header: str | None) -> bool:
        """Whether a request with this header Host is meant for this service."""
        found = _HOST.fullmatch(header or "")
        return found is not None and self._knows(found["name"])

    def origin(self, header: str | None, host: str | None) -> bool:
        """Whether a request with this header Origin comes from a page of this service, or from a program.

        The page must have the same name and port as ``host``, the header Host of the request: another service on
        another port of this machine is foreign.
        """
        if header is None:
            return True
        try:
            parts = urlsplit(header)
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or header != f"{parts.scheme}://{parts.netloc}":
            return False
        return self.host(parts.netloc) and _place(parts.netloc, parts.scheme) == _place(host or "", parts.scheme)

    def _knows(self, name: str) -> bool:
        plain = _plain(name)
        return plain in self.names or (self._is_everywhere and _is_address(plain))

    @property
    def _is_everywhere(self) -> bool:
        return not self.names.isdisjoint(("0.0.0.0", "::"))


def _place(host: str, scheme: str) -> tuple[str, int] | None:
    """Name and port of a header Host; None when it is none."""
    found = _HOST.fullmatch(host)
    if found is None:
        return None
    port = found["port"]
    return _plain(found["name"]), int(port) if port is not None else (443 if scheme == "https" else 80)


def _plain(name: str) -> str:
    """A name or address in the one form it is compared in."""
    bare = name.strip("[]").rstrip(".").lower()
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return bare


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
