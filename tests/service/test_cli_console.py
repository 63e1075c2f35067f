from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from hamfit.progress import Event
from hamfit_service.cli import console


def test_json_holds_only_what_json_can_hold(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json(
        {
            "nan": float("nan"),
            "inf": np.float64("inf"),
            "count": np.int64(7),
            "flag": np.bool_(True),
            "array": np.array([[1.5, 2.0], [np.nan, 3.0]]),
            "tuple": (1, "a"),
            "path": Path("a/b"),
            "nested": {2: {"x": None}},
        }
    )
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {
        "nan": None,
        "inf": None,
        "count": 7,
        "flag": True,
        "array": [[1.5, 2.0], [None, 3.0]],
        "tuple": [1, "a"],
        "path": "a/b",
        "nested": {"2": {"x": None}},
    }


def test_float64_survives_json_to_the_last_bit(capsys: pytest.CaptureFixture[str]) -> None:
    value = np.nextafter(0.1, 1.0)
    console.print_json({"value": value})
    assert json.loads(capsys.readouterr().out)["value"] == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (1234567, "1,234,567"),
        (1.23456e-9, "1.23e-09"),
        ([1, 2], "1, 2"),
        ([], "-"),
        ("a", "a"),
    ],
)
def test_values_read_well(value: object, text: str) -> None:
    assert console.format_value(value) == text


def test_sizes_and_times_have_units() -> None:
    assert [console.format_bytes(n) for n in (7, 1536, 3 * 1024**3, 5 * 1024**4)] == [
        "7 B",
        "1.5 KiB",
        "3.0 GiB",
        "5.0 TiB",
    ]
    assert [console.format_seconds(s) for s in (None, 3.21, 61.0, 3661.0)] == [
        "-",
        "3.2 s",
        "1:01",
        "1:01:01",
    ]


def test_nested_results_become_rows_with_dotted_names() -> None:
    assert list(console.flat_rows({"a": 1, "b": {"c": 2, "d": {"e": 3}}, "f": {}})) == [
        ("a", 1),
        ("b.c", 2),
        ("b.d.e", 3),
        ("f", {}),
    ]


def test_progress_tells_phase_rate_time_to_go_and_memory() -> None:
    event = Event(phase="reducing", done=3, total=12, rows=6000, seconds=3.0, peak_bytes=2 * 1024**3)
    assert console.progress_text(event) == "reducing 3/12 · 2,000 rows/s · ETA 9.0 s · peak 2.0 GiB"


def test_progress_in_a_log_is_one_line_per_finished_phase(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress_on_stderr() as progress:
        for done in range(5):
            progress(Event(phase="solving", done=done, total=4, rows=0, seconds=1.0, peak_bytes=0))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "solving 4/4 · 1.0 s\n"


def test_a_warning_is_one_sentence_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", console.show_warning)
        warnings.warn("too few rows;\nadd frames", stacklevel=1)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "hamfit: warning: too few rows; add frames\n")


def test_tables_do_not_interpret_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table("t", [("name", "[red]x[/red]")])
    assert "[red]x[/red]" in capsys.readouterr().out
