"""The log of a job: whole lines only, from where the reader stopped, whatever a writer left half-done."""

from __future__ import annotations

import threading
from pathlib import Path

from hamfit_service.jobs.logs import JobLog, read_log


def test_what_is_written_is_read_once_from_where_the_reader_stopped(tmp_path: Path) -> None:
    log = JobLog(tmp_path / "log.jsonl")
    log.write("info", "features begins")
    first = read_log(log.path)
    log.write("warning", "two\nlines")
    second = read_log(log.path, first.next)
    assert [line.message for line in first.lines] == ["features begins"]
    assert [(line.level, line.message) for line in second.lines] == [("warning", "two lines")]
    assert read_log(log.path, second.next).lines == []


def test_a_line_that_is_being_written_waits(tmp_path: Path) -> None:
    log = JobLog(tmp_path / "log.jsonl")
    log.write("info", "whole")
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + whole[:20])
    page = read_log(log.path)
    assert [line.message for line in page.lines] == ["whole"]
    assert page.next == len(whole)


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    log = JobLog(tmp_path / "log.jsonl")
    log.path.write_bytes(b'{"at": "2026-01-0\n')
    log.write("error", "after it")
    assert [line.message for line in read_log(log.path).lines] == ["after it"]


def test_pages_have_at_most_the_lines_that_were_asked_for(tmp_path: Path) -> None:
    log = JobLog(tmp_path / "log.jsonl")
    for number in range(7):
        log.write("info", str(number))
    page = read_log(log.path, 0, 3)
    rest = read_log(log.path, page.next, 100)
    assert [line.message for line in [*page.lines, *rest.lines]] == list("0123456")
    assert len(page.lines) == 3


def test_lines_of_writers_side_by_side_stay_whole(tmp_path: Path) -> None:
    log = JobLog(tmp_path / "log.jsonl")
    threads = [
        threading.Thread(target=lambda name=name: [log.write("info", f"{name}" * 200) for _ in range(50)])
        for name in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    messages = [line.message for line in read_log(log.path, 0, 1000).lines]
    assert sorted(messages) == sorted(name * 200 for name in "abcd" for _ in range(50))


def test_a_log_that_cannot_be_written_or_is_not_there_stops_nobody(tmp_path: Path) -> None:
    JobLog(tmp_path / "nowhere" / "log.jsonl").write("info", "lost")
    assert read_log(tmp_path / "nowhere" / "log.jsonl").lines == []
