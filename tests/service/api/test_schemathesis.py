"""The interface keeps to its own OpenAPI document, whatever it is sent: no failure of the server, no status, header or
schema that is not documented, nothing accepted that the schema forbids."""

from __future__ import annotations

from pathlib import Path

import pytest
from api_server import served, settings_for
from fuzzing import CHECKED, Findings, fuzz

from hamfit.systems import simulate
from hamfit_service.service import Service
from hamfit_service.wire import TokenRequest

# The document is fetched and requests are sent by another library, whose own warnings say nothing about this one.
pytestmark = pytest.mark.filterwarnings("default")


def fuzzed(root: Path, *, examples: int, walks: int, coverage: bool, running: bool) -> Findings:
    """A run against a new service, with data for the examples; ``running`` with its cluster and its jobs."""
    (root / "data").mkdir()
    for name in ("seen", "unseen"):
        simulate("spring", root / "data" / f"{name}.zarr", n_trajectories=2, n_frames=5)
    service = Service.create(settings_for(root, auth="required", queued_jobs_per_owner=1_000_000))
    try:
        token = service.tokens.create(TokenRequest(owner="fuzz", scopes=["admin"])).token
        headers = {"Authorization": f"Bearer {token}"}
        with served(service, manage=running, **headers) as client:
            url = str(client.base_url).rstrip("/")
            # a service whose cluster was not started is not ready, and says so with 503
            without = () if running else ("/readyz",)
            findings = fuzz(url, headers, examples=examples, walks=walks, coverage=coverage, without=without)
            assert client.get("/v1/jobs").status_code == 200
    finally:
        service.close()
    print(f"\nschemathesis: {findings}")
    return findings


def test_a_short_walk_finds_nothing_wrong(tmp_path: Path) -> None:
    findings = fuzzed(tmp_path, examples=8, walks=10, coverage=False, running=False)
    assert not findings.errors
    assert not findings.failures, "\n\n".join(f"{what}\n{how}" for what, how in findings.failures.items())
    assert findings.cases >= 200
    assert 201 in findings.statuses, "nothing was ever accepted"
    assert not any(status >= 500 for status in findings.statuses)


@pytest.mark.heavy
@pytest.mark.timeout(3000)
def test_two_thousand_cases_and_more_find_nothing_wrong_while_jobs_run(tmp_path: Path) -> None:
    findings = fuzzed(tmp_path, examples=60, walks=60, coverage=True, running=True)
    assert not findings.errors
    assert not findings.failures, "\n\n".join(f"{what}\n{how}" for what, how in findings.failures.items())
    assert findings.cases >= 2000
    assert set(CHECKED) <= set(findings.checks), "an answer was held to less than this suite says"
    assert not any(status >= 500 for status in findings.statuses)
