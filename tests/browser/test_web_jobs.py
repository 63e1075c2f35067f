from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect
from web_pages import PHONE, Watch, assert_fits, ink, wait_for_state

from serving import Served

Opener = Callable[..., Page]

NO_RELOAD = "window.stayed = true"
SLOW = {"system": "lj", "options": {"n_trajectories": 500, "n_frames": 500, "every": 20}}


@pytest.fixture(scope="module")
def data(served: Served) -> str:
    """A dataset made by a job."""
    job = served.submit("simulate", {"system": "nspring", "options": {"n_trajectories": 8, "n_frames": 40}})
    assert served.finished(job)["status"] == "succeeded"
    return job


@pytest.fixture(scope="module")
def fitted(served: Served, data: str) -> str:
    """A fit, published as `ring`."""
    job = served.submit("fit", {"data": [f"job:{data}"], "features": 32, "publish": "ring"})
    assert served.finished(job)["status"] == "succeeded"
    return job


@pytest.fixture
def slow(served: Served) -> Iterator[str]:
    """A job that runs for as long as the test does."""
    job = served.submit("simulate", SLOW)
    yield job
    served.http.delete(f"/v1/jobs/{job}")
    served.finished(job)


def test_a_job_is_submitted_by_the_form_and_followed_to_its_end_without_a_reload(open_page: Opener) -> None:
    page = open_page("/")
    page.get_by_role("link", name="Submit", exact=True).click()
    page.get_by_role("link", name=re.compile("^simulate")).click()
    page.wait_for_load_state()  # the script that submits a choice has run
    page.get_by_label("System").select_option("nspring")
    page.wait_for_url("**/submit/simulate?system=nspring")
    page.locator("#in-options-n_trajectories").fill("6")
    page.locator("#in-options-n_frames").fill("30")
    page.get_by_role("button", name="Submit the job").click()
    page.wait_for_url("**/jobs/*")
    page.evaluate(NO_RELOAD)
    wait_for_state(page, "succeeded")
    # what came of it, and the end of the log, appear beside the state
    expect(page.locator("#outcome")).to_contain_text("trajectories")
    expect(page.locator("#outcome .facts")).to_contain_text("180")
    expect(page.locator("#log")).to_contain_text("succeeded")
    expect(page.get_by_role("link", name="Fit a model")).to_be_visible()
    expect(page.locator("#announced")).to_contain_text("succeeded")
    assert page.evaluate("window.stayed") is True


def test_a_fit_is_submitted_from_its_data_and_its_plots_are_drawn(open_page: Opener, data: str) -> None:
    page = open_page(f"/jobs/{data}")
    page.get_by_role("link", name="Fit a model").click()
    expect(page.get_by_label(re.compile("simulate nspring")).first).to_be_checked()
    page.locator("#in-features").fill("48")
    page.get_by_role("button", name="Submit the job").click()
    page.wait_for_url("**/jobs/*")
    page.evaluate(NO_RELOAD)
    wait_for_state(page, "succeeded")
    expect(page.get_by_text("Errors and conditions")).to_be_visible()
    expect(page.locator("#outcome")).to_contain_text("error, held out")
    assert ink(page, ".bars") > 2000
    assert ink(page, "[data-progress=percent]") > 2000
    page.get_by_label("Publish under a name").fill("ring-by-hand")
    assert page.evaluate("window.stayed") is True
    page.get_by_role("button", name="Publish as model").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("ring-by-hand@1")


def test_the_list_moves_by_itself_and_is_filtered(open_page: Opener, served: Served, fitted: str, slow: str) -> None:
    page = open_page("/")
    page.evaluate(NO_RELOAD)
    row = page.get_by_role("row").filter(has=page.locator(f"#job-{slow}"))
    expect(row.locator(".state")).to_have_text("running")
    expect(row.locator("progress")).to_have_count(1)
    served.http.delete(f"/v1/jobs/{slow}")
    expect(row.locator(".state")).to_have_text("dismissed")
    assert page.evaluate("window.stayed") is True
    page.get_by_label("Process").select_option("fit")
    page.wait_for_url("**process=fit*")
    expect(page.locator(f"#job-{fitted}")).to_be_visible()
    expect(page.locator(f"#job-{slow}")).to_have_count(0)


def test_a_running_job_is_dismissed_only_after_it_was_confirmed(open_page: Opener, served: Served, slow: str) -> None:
    page = open_page(f"/jobs/{slow}")
    wait_for_state(page, "running")
    button = page.get_by_role("button", name="Dismiss the job")
    expect(button).to_be_hidden()
    # by keyboard alone
    page.locator(".confirm summary").focus()
    page.keyboard.press("Enter")
    expect(button).to_be_visible()
    assert served.job(slow)["status"] == "running"
    button.press("Enter")
    wait_for_state(page, "dismissed")
    expect(page.locator(".confirm")).to_have_count(0)
    assert served.job(slow)["status"] == "dismissed"


def test_a_rollout_shows_its_speed_and_the_drift_of_each_trajectory(
    open_page: Opener, served: Served, data: str, fitted: str
) -> None:
    page = open_page("/models/ring")
    page.get_by_role("link", name="Roll out this model").click()
    expect(page.locator("#in-model")).to_have_value("ring@1")
    page.locator("#in-initial").fill(f"job:{data}")
    page.locator("#in-steps").fill("400")
    page.get_by_role("button", name="Submit the job").click()
    page.wait_for_url("**/jobs/*")
    wait_for_state(page, "succeeded")
    expect(page.get_by_role("figure", name="Energy drift of each trajectory")).to_be_visible()
    assert ink(page, ".points") > 500
    page.get_by_text("Trajectories (8)").click()
    expect(page.locator("#outcome").get_by_role("link", name="run-0000-frame-0")).to_be_visible()
    # those under way are no more
    expect(page.locator("#trajectories")).to_have_count(0)


def test_the_report_of_a_comparison_is_shown_in_a_frame_that_runs_nothing(
    open_page: Opener, served: Served, data: str, fitted: str
) -> None:
    job = served.submit("evaluate", {"model": "ring", "data": f"job:{data}", "rollout": True})
    assert served.finished(job)["status"] == "succeeded"
    page = open_page(f"/jobs/{job}")
    assert ink(page, ".lines") > 500
    frame = page.locator("iframe.report")
    assert frame.get_attribute("sandbox") == ""
    frame.scroll_into_view_if_needed()
    expect(page.frame_locator("iframe.report").get_by_role("heading", level=1)).to_be_visible()


def test_a_failure_is_told_with_its_kind_and_what_to_do(open_page: Opener, served: Served) -> None:
    (served.data_root / "noise.xyz").write_text("no trajectory")
    job = served.submit("ingest", {"files": ["noise.xyz"], "units": "lj"})
    assert served.finished(job)["failure"]["kind"] == "user"
    page = open_page(f"/jobs/{job}")
    alert = page.locator("#live .alert")
    expect(alert).to_contain_text("noise.xyz")
    expect(alert).to_contain_text("The inputs have to be changed")
    assert str(served.data_root) not in page.content()
    page.get_by_role("link", name="Submit again").click()
    expect(page.locator("#in-files")).to_have_value("noise.xyz")


@pytest.mark.faults
def test_the_page_tells_when_the_service_is_away_and_goes_on_when_it_is_back(
    open_page: Opener, served: Served, watch: Watch
) -> None:
    watch.expect("Failed to load resource")
    watch.expect("Response Status Error")
    watch.expect("htmx")
    page = open_page("/")
    away = page.get_by_text("The service does not answer")
    expect(away).to_be_hidden()
    page.route("**/jobs?*", lambda route: route.fulfill(status=503, body="away"))
    expect(away).to_be_visible()
    page.unroute("**/jobs?*")
    expect(away).to_be_hidden()


def test_every_page_fits_a_phone(open_page: Opener, data: str, fitted: str) -> None:
    page = open_page("/", **PHONE)
    forms = [f"/submit/{name}" for name in ("simulate", "ingest", "fit", "rollout", "evaluate")]
    for path in ("/", f"/jobs/{data}", f"/jobs/{fitted}", "/models", "/models/ring", "/cluster", "/submit", *forms):
        page.goto(path)
        assert_fits(page)


def test_pages_have_one_heading_a_language_and_names_for_all_that_can_be_used(
    open_page: Opener, data: str, fitted: str
) -> None:
    page = open_page("/")
    for path in ("/", f"/jobs/{fitted}", "/models", "/models/ring", "/cluster", "/submit", "/submit/fit", "/login"):
        page.goto(path)
        assert page.locator("h1").count() == 1
        assert page.locator("html").get_attribute("lang") == "en"
        nameless = page.evaluate(
            """() => [...document.querySelectorAll('input:not([type=hidden]), select, textarea')]
            .filter(one => !one.labels.length).map(one => one.outerHTML)"""
        )
        assert nameless == []
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
        assert len(ids) == len(set(ids))


def test_a_page_that_is_not_there_says_so(open_page: Opener, watch: Watch) -> None:
    watch.expect("404")
    page = open_page("/jobs/0123456789abcdef")
    expect(page.get_by_role("alert")).to_contain_text("there is no job 0123456789abcdef")


def test_the_cluster_is_shown_with_its_workers(open_page: Opener) -> None:
    page = open_page("/cluster")
    expect(page.locator("#cluster .state")).to_have_text("alive")
    expect(page.locator("#cluster")).to_contain_text("workers")
