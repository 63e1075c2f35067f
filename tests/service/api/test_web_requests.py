"""What a browser sends is checked as carefully as what a program sends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from api_server import served

from hamfit_service.api.access import COOKIE
from hamfit_service.security.tokens import TokenStore
from hamfit_service.service import Service


@pytest.mark.parametrize(
    ("process", "form", "says"),
    [
        ("rollout", {"model": "m", "initial": "i", "steps": "1e300", "dt": "0.01"}, "beyond 64 bits"),
        ("rollout", {"model": "m", "initial": "i", "steps": "10", "dt": "0.01", "seed": "9" * 30}, "beyond 64 bits"),
        ("rollout", {"model": "m", "initial": "i", "steps": "10", "dt": "1e999"}, "beyond double precision"),
        ("simulate", {"system": "spring", "options.seed": "9" * 30}, "beyond 64 bits"),
        ("fit", {"data": "a\x00b"}, "NUL"),
    ],
    ids=["steps", "seed", "infinite", "option", "nul"],
)
def test_a_form_takes_no_value_that_the_interface_refuses(
    client: httpx.Client, service: Service, process: str, form: dict[str, str], says: str
) -> None:
    answer = client.post(f"/submit/{process}", data=form)
    assert answer.status_code == 422, answer.text
    assert says in answer.text
    assert service.store.page().jobs == []


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_next_that_is_no_address_leads_to_the_first_page(make_service: Callable[..., Service], method: str) -> None:
    with served(make_service(auth="required")) as client:
        if method == "GET":
            answer, status = client.get("/login", params={"next": "//["}), 200
        else:
            answer, status = client.post("/login", data={"next": "//[", "token": "none"}), 401
    assert answer.status_code == status
    assert 'name="next" value="/"' in answer.text


@pytest.mark.parametrize("path", ["/login", "/logout"])
def test_signing_in_and_out_is_limited_before_the_database_is_asked(
    make_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    asked = [0]

    def counting(work: Callable[..., Any]) -> Callable[..., Any]:
        def count(self: TokenStore, text: str) -> Any:
            asked[0] += 1
            return work(self, text)

        return count

    for name in ("authenticate", "close_session"):
        monkeypatch.setattr(TokenStore, name, counting(getattr(TokenStore, name)))
    with served(make_service(auth="required", requests_per_second=0.01)) as client:
        answers = [
            client.post(path, data={"token": f"hf_{k:016x}_" + "A" * 43}, headers={"Cookie": f"{COOKIE}={'A' * 43}"})
            for k in range(5)
        ]
    assert [answer.status_code for answer in answers[1:]] == [429] * 4
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert asked == [1]
