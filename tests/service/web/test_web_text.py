from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.datastructures import FormData

from hamfit_service.jobs.job import Job, JobProgress
from hamfit_service.processes import PROCESSES
from hamfit_service.web.formatting import age, duration, number, rate, size
from hamfit_service.web.forms import fields_of, values_of
from hamfit_service.web.history import ProgressHistory
from hamfit_service.web.pages.login import local_path
from hamfit_service.web.reports import report_of

START = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0, "0"),
        (120000, "120,000"),
        (0.25, "0.25"),
        (1.1516e-14, "1.15·10⁻¹⁴"),
        (-3.2e-9, "−3.20·10⁻⁹"),
        (4.78475, "4.78"),
        (100.0, "100"),
        (2.58e6, "2.58·10⁶"),
    ],
)
def test_numbers_are_short(value: Any, text: str) -> None:
    assert number(value) == text


def test_sizes_speeds_and_times_have_units() -> None:
    assert [size(224055296), size(12), rate(46321.0)] == ["224 MB", "12 B", "46.3 k"]
    assert [duration(one) for one in (0.0232, 5.43, 59.96, 123.0, 3840.0)] == [
        "23 ms",
        "5.4 s",
        "1 min 0 s",
        "2 min 3 s",
        "1 h 4 min",
    ]
    assert age(START, START + timedelta(minutes=3, seconds=59)) == "3 min"


@pytest.mark.parametrize("name", PROCESSES)
def test_every_input_of_a_process_is_a_field_with_help(name: str) -> None:
    fields = fields_of(PROCESSES[name])
    assert {one.name for one in fields} == set(PROCESSES[name].inputs.model_fields)
    assert all(one.help and one.label for one in fields)


def test_a_form_becomes_the_values_that_the_interface_takes() -> None:
    process = PROCESSES["fit"]
    form = FormData(
        [
            ("data", "a.zarr\r\n b.zarr \r\n\r\n"),
            ("data", "job:0123456789abcdef"),
            ("cutoff", " 2.5 "),
            ("features", "1e3"),
            ("blocks", "pair"),
            ("blocks", "kinetic"),
            ("ridge", ""),
            ("seed", "many"),
        ]
    )
    values = values_of(fields_of(process), form)
    assert values["data"] == ["a.zarr", "b.zarr", "job:0123456789abcdef"]
    assert (values["cutoff"], values["features"], values["seed"]) == ("2.5", 1000, "many")
    assert values["blocks"] == ["pair", "kinetic"]
    # a box that is not ticked says no, a field that is empty says nothing
    assert values["direct_links"] is False
    assert "ridge" not in values


def test_flags_in_a_row_are_read_as_they_are_written() -> None:
    process = PROCESSES["ingest"]
    form = FormData([("files", "a.xyz"), ("pbc", "T, false,x")])
    assert values_of(fields_of(process), form)["pbc"] == [True, False, "x"]


@pytest.mark.parametrize(
    "where", ["//elsewhere", "https://elsewhere/", "/\\elsewhere", "elsewhere", "", "/a\nb", "/\t/elsewhere", "//["]
)
def test_only_paths_of_this_site_are_gone_to_after_signing_in(where: str) -> None:
    assert local_path(where) == "/"
    assert local_path("/jobs/1?x=2") == "/jobs/1?x=2"


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize(
    "found",
    [
        {},
        {"train": None, "seconds": {"total": None}, "warnings": ["w"], "rollouts": {"each": [None]}, "units": 3},
        {"rollouts": {"each": [{"zerr": None}]}, "errors": {"time": [0.0, 1.0], "curves": {"zerr": [0.0]}}},
        {
            "held_out": {"force": 1e-3},
            "n_particles": [],
            "trajectories": [{"time": [None, None]}],
            "energy_drift": None,
        },
    ],
)
def test_reports_that_lack_things_are_shown_without_them(name: str, found: dict[str, Any]) -> None:
    made = report_of(name, found, [])
    assert list(made.warnings) == found.get("warnings", [])


def test_the_history_of_a_job_is_bounded_and_keeps_its_beginning() -> None:
    history = ProgressHistory()
    for second in range(2000):
        history(None, _job(second))
    document = history.document(_job(1999), ())
    assert 100 < len(document["seconds"]) <= 401
    assert document["seconds"][0] == 0.0
    assert document["seconds"][-1] == 1999.0
    assert document["seconds"] == sorted(document["seconds"])
    assert document["unit"] == "steps"


def test_the_history_forgets_old_jobs() -> None:
    history = ProgressHistory()
    for count in range(300):
        history(None, _job(1, f"{count:016x}"))
    assert history.document(_job(1, f"{0:016x}"), ())["seconds"] == []
    assert history.document(_job(1, f"{299:016x}"), ())["seconds"] == [0.0, 1.0]


def _job(second: int, name: str = "0123456789abcdef") -> Job:
    return Job(
        id=name,
        process="rollout",
        owner="local",
        inputs={},
        state="running",
        target="run",
        progress=JobProgress("rollout", second / 20, rows=second, rows_per_second=1.0, unit="steps"),
        attempts=0,
        stalls=0,
        stalled_at=0.0,
        not_before=None,
        failure=None,
        result=None,
        submitted_at=START,
        started_at=START,
        finished_at=None,
        updated_at=START + timedelta(seconds=second),
    )
