"""Hosts and origins: a foreign page must not reach a service through the browser of somebody who looks at it."""

from __future__ import annotations

import pytest

from hamfit_service.security.hosts import AllowedHosts
from hamfit_service.settings import Settings

LOCAL = AllowedHosts.of(Settings())
NAMED = AllowedHosts.of(Settings(host="10.1.2.3", allowed_hosts=("Fits.Example.ORG",)))
EVERYWHERE = AllowedHosts.of(Settings(host="0.0.0.0", allowed_hosts=("fits.example.org",)))


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8741", "LOCALHOST:1", "127.0.0.1:8741", "[::1]:8741", "localhost."]
)
def test_loopback_is_reached_by_its_names(host: str) -> None:
    assert LOCAL.host(host)


@pytest.mark.parametrize(
    "host",
    [
        *(None, "", "evil.example", "evil.example:8741", "localhost.evil.example", "127.0.0.1.evil.example"),
        *("192.168.0.7", "localhost:x", "localhost:8741:1", "user@localhost", "localhost/evil", "localhost, evil", "*"),
        *("127.0.0.1 ", "[::1", "::1", "local host", "localhost\n", "localhost:999999", "[evil.example]", "0.0.0.0"),
    ],
)
def test_a_name_that_could_be_rebound_is_refused(host: str | None) -> None:
    assert not LOCAL.host(host)


def test_the_bound_address_and_names_of_the_settings_are_allowed() -> None:
    for host in ("10.1.2.3", "10.1.2.3:8741", "fits.example.org", "FITS.example.org:443", "localhost"):
        assert NAMED.host(host)
    for host in ("10.1.2.4", "example.org", "a.fits.example.org"):
        assert not NAMED.host(host)


def test_a_service_on_every_address_is_reached_by_addresses_and_given_names_only() -> None:
    for host in ("192.168.0.7:8741", "[fe80::1]:8741", "fits.example.org"):
        assert EVERYWHERE.host(host)
    assert not EVERYWHERE.host("evil.example")


def test_programs_send_no_origin() -> None:
    assert LOCAL.origin(None, "localhost:8741")


@pytest.mark.parametrize(
    "origin, host",
    [
        ("http://localhost:8741", "localhost:8741"),
        ("http://[::1]:8741", "[0:0:0:0:0:0:0:1]:8741"),
        ("http://127.0.0.1", "127.0.0.1:80"),
        ("https://fits.example.org", "fits.example.org"),  # TLS ends at a proxy in front
    ],
)
def test_a_page_of_the_service_itself_is_allowed(origin: str, host: str) -> None:
    assert NAMED.origin(origin, host)


@pytest.mark.parametrize(
    "origin",
    [
        *("null", "", "http://evil.example", "http://evil.example:8741", "http://localhost:9999", "http://localhost"),
        *("http://127.0.0.1:8741", "file://", "chrome-extension://abc", "http://localhost:8741/", "localhost:8741"),
        *("http://localhost:8741@evil.example", "http://localhost:8741 http://evil.example", "http://[", "http://"),
    ],
)
def test_a_page_of_somebody_else_is_refused(origin: str) -> None:
    assert not LOCAL.origin(origin, "localhost:8741")


def test_a_page_that_rebound_its_own_name_is_refused_twice() -> None:
    assert not LOCAL.host("evil.example:8741")
    assert not LOCAL.origin("http://evil.example:8741", "evil.example:8741")
