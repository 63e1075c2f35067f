"""Every mistake in the table of bad inputs is refused with the status, the field and the fix that belong to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from api_server import served, settings_for
from bad_inputs import CASES, Bad

from hamfit_service.service import Service
from hamfit_service.wire import Problem


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    service = Service.create(settings_for(tmp_path_factory.mktemp("bad-inputs")))
    try:
        with served(service) as client:
            yield client
    finally:
        service.close()


def test_there_are_more_than_a_hundred_cases_and_no_two_are_the_same() -> None:
    assert len(CASES) >= 100
    assert len({case.id for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_bad_request_is_refused_with_the_field_and_the_fix(server: httpx.Client, case: Bad) -> None:
    answer = server.request(case.method, case.path, content=case.body, headers=dict(case.headers))
    assert answer.status_code == case.status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(answer.content)
    assert problem.status == case.status
    assert problem.instance == answer.headers["x-request-id"]
    if case.field is None:
        assert case.fix in problem.detail
    else:
        messages = {error.field: error.message for error in problem.errors}
        assert case.field in messages, messages
        assert case.fix in messages[case.field], messages


def test_nothing_was_accepted_and_nothing_of_the_server_was_told(server: httpx.Client) -> None:
    jobs = server.get("/v1/jobs").json()["jobs"]
    assert jobs == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_refusal_tells_nothing_of_the_server(server: httpx.Client, case: Bad) -> None:
    text = server.request(case.method, case.path, content=case.body, headers=dict(case.headers)).text
    for told in ("Traceback", 'File "', str(Path.home()), str(Path(__file__).parents[3]), "/tmp/", "site-packages"):
        assert told not in text
