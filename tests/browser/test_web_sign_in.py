from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect
from web_pages import PHONE, Watch, assert_fits

from serving import Served, serving

Opener = Callable[..., Page]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service of its own: once there is a token, it asks everybody for one."""
    folder = tmp_path_factory.mktemp("locked")
    (folder / "data").mkdir()
    with serving(folder / "root", folder / "data") as service:
        yield service


@pytest.fixture(scope="module")
def tokens(served: Served) -> dict[str, str]:
    """Tokens of an administrator, of somebody who submits and of somebody who only reads."""
    made: dict[str, str] = {}
    headers: dict[str, str] = {}
    for owner, scopes in (("root", ["admin"]), ("ada", ["read", "submit"]), ("eve", ["read"])):
        answer = served.http.post("/v1/tokens", json={"owner": owner, "scopes": scopes}, headers=headers)
        assert answer.status_code == 201, answer.text
        made[owner] = answer.json()["token"]
        # from the first one on, tokens are needed
        headers = {"Authorization": f"Bearer {made['root']}"}
    return made


def sign_in(page: Page, token: str) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()


def test_a_page_asks_for_a_token_and_comes_back_to_itself(open_page: Opener, tokens: dict[str, str]) -> None:
    page = open_page("/cluster")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    sign_in(page, tokens["ada"])
    page.wait_for_url("**/cluster")
    expect(page.locator(".who .owner")).to_have_text("ada")
    cookie = next(one for one in page.context.cookies() if one["name"] == "hamfit_session")
    assert cookie["httpOnly"] is True
    assert cookie["sameSite"] == "Strict"
    assert tokens["ada"] not in cookie["value"]
    assert page.evaluate("document.cookie") == ""


def test_signing_out_ends_the_session_and_not_only_the_cookie(
    open_page: Opener, served: Served, tokens: dict[str, str]
) -> None:
    page = open_page("/login")
    sign_in(page, tokens["ada"])
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    stolen = next(one["value"] for one in page.context.cookies() if one["name"] == "hamfit_session")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert page.context.cookies() == []
    answer = served.http.get("/v1/jobs", headers={"Cookie": f"hamfit_session={stolen}"})
    assert answer.status_code == 401


def test_a_wrong_token_is_refused_without_being_repeated(
    open_page: Opener, watch: Watch, tokens: dict[str, str]
) -> None:
    watch.expect("401")
    page = open_page("/login")
    sign_in(page, "hf_0123456789abcdef_" + "A" * 43)
    expect(page.get_by_role("alert")).to_contain_text("ask an administrator for a new one")
    expect(page.get_by_label("Token")).to_have_value("")
    assert page.context.cookies() == []


def test_signing_in_leads_nowhere_else(open_page: Opener, served: Served, tokens: dict[str, str]) -> None:
    page = open_page("/login?next=//elsewhere.example/")
    sign_in(page, tokens["ada"])
    page.wait_for_url(served.url + "/")


def test_who_may_only_read_is_offered_nothing_else(open_page: Opener, watch: Watch, tokens: dict[str, str]) -> None:
    watch.expect("403")
    page = open_page("/login")
    sign_in(page, tokens["eve"])
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    expect(page.get_by_role("link", name="Submit")).to_have_count(0)
    page.goto("/submit/fit")
    expect(page.get_by_role("alert")).to_contain_text("scope submit")


def test_another_owners_job_cannot_be_dismissed(
    open_page: Opener, served: Served, watch: Watch, tokens: dict[str, str]
) -> None:
    root = {"Authorization": f"Bearer {tokens['root']}"}
    slow = {"system": "lj", "options": {"n_trajectories": 500, "n_frames": 500}}
    job = served.http.post("/v1/processes/simulate/execution", json=slow, headers=root).json()["id"]
    page = open_page("/login")
    sign_in(page, tokens["ada"])
    page.goto(f"/jobs/{job}")
    expect(page.locator("#live")).to_contain_text("root")
    expect(page.locator(".confirm")).to_have_count(0)
    cookie = page.context.cookies()[0]["value"]
    headers = {"Cookie": f"hamfit_session={cookie}", "Origin": served.url}
    assert served.http.post(f"/jobs/{job}/dismiss", headers=headers).status_code == 403
    assert served.http.delete(f"/v1/jobs/{job}", headers=root).status_code == 200


def test_the_page_for_signing_in_fits_a_phone(open_page: Opener, tokens: dict[str, str]) -> None:
    page = open_page("/login", **PHONE)
    assert_fits(page)
    sign_in(page, tokens["ada"])
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    assert_fits(page)
