from __future__ import annotations

from typing import Any

import pytest

from hamfit.errors import SpecError
from hamfit.progress import Event, silent


def test_rates_and_the_time_to_go_follow_from_the_event() -> None:
    event = Event(phase="reducing", done=3, total=11, rows=700, seconds=7.0, peak_bytes=5)
    assert event.rows_per_second == pytest.approx(100.0)
    assert event.remaining_seconds == pytest.approx(7.0 / 3 * 8)


def test_steps_that_an_earlier_run_had_made_took_no_time_of_this_one() -> None:
    event = Event(phase="rollout", done=920, total=1000, rows=20, seconds=5.0, peak_bytes=0, unit="steps")
    assert event.rows_per_second == pytest.approx(4.0)
    assert event.remaining_seconds == pytest.approx(20.0)
    begun = Event(phase="rollout", done=900, total=1000, rows=0, seconds=0.1, peak_bytes=0, unit="steps")
    assert begun.remaining_seconds is None


def test_nothing_is_foretold_before_the_first_task_ends() -> None:
    event = Event(phase="reducing", done=0, total=11, rows=0, seconds=0.0, peak_bytes=0)
    assert event.rows_per_second == 0.0
    assert event.remaining_seconds is None


def test_silence_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    silent(Event(phase="solving", done=1, total=1, rows=0, seconds=0.1, peak_bytes=0))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "values",
    [{"phase": ""}, {"done": -1}, {"total": -1}, {"rows": -1}, {"seconds": -0.1}, {"peak_bytes": -1}],
)
def test_an_impossible_event_is_refused(values: dict[str, Any]) -> None:
    good: dict[str, Any] = {"phase": "p", "done": 1, "total": 2, "rows": 3, "seconds": 4.0, "peak_bytes": 5}
    with pytest.raises(SpecError):
        Event(**(good | values))
