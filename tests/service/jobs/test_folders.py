"""The root's check: whether it can be written and has room, whoever else checks, and nothing is left behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hamfit.errors import DiskError
from hamfit_service.jobs.folders import Folders


def test_checks_at_the_same_time_do_not_disturb_each_other_and_leave_nothing(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: folders.check(0), range(200)))
    assert list(tmp_path.iterdir()) == []


def test_a_root_without_room_or_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="bytes left, less than"):
        Folders(tmp_path).check(2**60)
    (tmp_path / "file").touch()
    with pytest.raises((DiskError, OSError)):
        Folders(tmp_path / "file").check(0)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
