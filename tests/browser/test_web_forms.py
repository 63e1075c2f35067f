from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from web_pages import Watch, wait_for_state

from serving import Served

Opener = Callable[..., Page]
EVIL = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>\"'"


@pytest.fixture
def refused(watch: Watch) -> Iterator[Watch]:
    # the browser reports the status 422 of a form that was not accepted
    watch.expect("422")
    return watch


def test_errors_stand_beside_their_fields_and_what_was_written_stays(open_page: Opener, refused: Watch) -> None:
    page = open_page("/submit/fit")
    page.locator("#in-features").fill("many")
    page.locator("#in-cutoff").fill("-3")
    page.get_by_role("button", name="Submit the job").click()
    features = page.locator("#in-features")
    expect(features).to_have_value("many")
    expect(features).to_have_attribute("aria-invalid", "true")
    described = str(features.get_attribute("aria-describedby")).split()
    assert page.locator(f"#{described[1]}").inner_text() == "input should be a valid integer"
    expect(page.locator("#in-cutoff-problem")).to_contain_text("write one distance such as 2.5")
    expect(page.locator("#in-data-problem")).to_contain_text("is missing; give a value")
    expect(page.locator("#problems")).to_be_focused()


def test_the_form_says_what_the_interface_says(open_page: Opener, served: Served, refused: Watch) -> None:
    answer = served.http.post("/v1/processes/rollout/execution", json={"model": "a", "initial": "b", "steps": 0})
    said = {one["field"]: one["message"] for one in answer.json()["errors"]}
    page = open_page("/submit/rollout?model=a&initial=b")
    page.locator("#in-steps").fill("0")
    page.get_by_role("button", name="Submit the job").click()
    message = page.locator("#in-steps-problem").inner_text()
    assert message
    assert said["steps"].startswith(message)


def test_an_option_of_a_system_has_its_error_beside_it(open_page: Opener, refused: Watch) -> None:
    page = open_page("/submit/simulate?system=nspring")
    page.locator("#in-options-n_trajectories").fill("0")
    page.get_by_role("button", name="Submit the job").click()
    expect(page.locator("#in-options-n_trajectories-problem")).to_contain_text("n_trajectories")


def test_a_reference_outside_the_data_roots_is_refused_beside_its_field(
    open_page: Opener, served: Served, refused: Watch
) -> None:
    page = open_page("/submit/fit")
    page.locator("#in-data").fill("/etc/passwd")
    page.get_by_role("button", name="Submit the job").click()
    expect(page.locator("#in-data-problem")).to_be_visible()
    assert str(served.root.parent) not in page.content()


def test_text_from_outside_is_shown_and_never_run(
    open_page: Opener, served: Served, refused: Watch, tmp_path: Path
) -> None:
    page = open_page("/submit/fit")
    page.locator("#in-data").fill(EVIL)
    page.locator("#in-publish").fill(EVIL)
    page.get_by_role("button", name="Submit the job").click()
    expect(page.locator("#in-data")).to_have_value(EVIL)
    assert page.title() == "Submit: fit · hamfit"
    # also where it was accepted and came back with the job
    name = "<img src=x onerror=alert(1)>.xyz"
    (served.data_root / name).write_text("nothing")
    job = served.submit("ingest", {"files": [name], "units": "lj"})
    served.finished(job)
    for path in (f"/jobs/{job}", "/"):
        page.goto(path)
        expect(page.get_by_text(name).first).to_be_visible()
        assert page.locator("main img").count() == 0
    page.goto(f"/submit/fit?data={name}&publish=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    expect(page.locator("#in-data")).to_have_value(name)
    assert page.locator("main script").count() == 0


def test_forms_work_without_javascript(open_page: Opener) -> None:
    page = open_page("/submit/simulate?system=nspring", java_script_enabled=False)
    page.get_by_label("System").select_option("spring")
    page.get_by_role("button", name="Choose").click()
    page.wait_for_url("**system=spring")
    page.locator("#in-options-n_trajectories").fill("2")
    page.locator("#in-options-n_frames").fill("5")
    page.get_by_role("button", name="Submit the job").click()
    page.wait_for_url("**/jobs/*")
    # the page asks for itself again
    wait_for_state(page, "succeeded")
    expect(page.locator("#outcome")).to_contain_text("trajectories")


def test_a_form_sent_twice_makes_one_job(open_page: Opener, served: Served) -> None:
    page = open_page("/submit/simulate?system=nspring")
    form = {"system": "nspring", "options.n_trajectories": "2", "options.n_frames": "5"}
    form["key"] = str(page.locator("input[name=key]").get_attribute("value"))
    places = [
        served.http.post("/submit/simulate", data=form, headers={"Origin": served.url}).headers["location"]
        for _ in range(2)
    ]
    assert places[0] == places[1]


def test_a_form_of_another_site_is_refused(served: Served) -> None:
    before = [job["id"] for job in served.http.get("/v1/jobs").json()["jobs"]]
    form = {"system": "nspring", "options.n_trajectories": "2"}
    for origin in ("http://elsewhere.example", "null"):
        answer = served.http.post("/submit/simulate", data=form, headers={"Origin": origin})
        assert answer.status_code in (400, 403)
    assert [job["id"] for job in served.http.get("/v1/jobs").json()["jobs"]] == before
