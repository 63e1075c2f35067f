"""A rollout that is taken up tells how far all of it is: a job that gets on is not taken for one that stalls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from hamfit.data import Dataset
from hamfit.fitting import fit
from hamfit.model import Model
from hamfit.options import FitOptions
from hamfit.rollouts import rollout
from hamfit.rollouts.running import _Rollout
from hamfit.systems import simulate
from hamfit_service.cli.following import text_of
from hamfit_service.jobs.job import JobProgress
from hamfit_service.jobs.logs import JobLog
from hamfit_service.jobs.runner import Channel, Listener
from hamfit_service.processes.rollout import ROLLOUT
from hamfit_service.wire.documents import ProgressDocument

# 100 steps of two rollouts, with ten places to stop at in each
HOW: dict[str, Any] = {"steps": 100, "every": 10, "dt": 0.01, "threads": 1, "checkpoint_seconds": 0.0}


class StopError(BaseException):
    """Comes as a kill does."""


class Told(Channel):
    """Keeps what would be sent to the service."""

    def __init__(self) -> None:
        self.progress: list[JobProgress] = []

    def tell(self, message: Mapping[str, Any]) -> None:
        """Keep it."""
        self.progress.append(JobProgress.from_json(message["progress"]))


@pytest.fixture(scope="module")
def springs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Dataset]:
    """A model of springs, and two states to start from."""
    folder = tmp_path_factory.mktemp("springs")
    seen = simulate("spring", folder / "seen", shape="5", n_trajectories=4, n_frames=20)
    start = simulate("spring", folder / "start", shape="5", n_trajectories=2, n_frames=2, seed=2)
    return fit(seen, options=FitOptions(features=32, threads=1, checkpoint=False)).model, start


@pytest.fixture
def attempt(springs: tuple[Model, Dataset], tmp_path: Path) -> Callable[[int, float], list[JobProgress]]:
    """`attempt(stretches, percent)`: what an attempt tells that is stopped after so many; it began at that percent."""

    def run(stretches: int, percent: float) -> list[JobProgress]:
        pause, made, told = _Rollout._pause, count(1), Told()

        def stopping(self: _Rollout, on_step: Callable[[int], None]) -> None:
            # every one is told, as none is within the half second that is the least between two
            self._told = float("-inf")
            pause(self, on_step)
            if next(made) == stretches:
                raise StopError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_Rollout, "_pause", stopping)
            patch.setattr("hamfit_service.jobs.runner._TELL_SECONDS", 0.0)
            listener = Listener(told, ROLLOUT, JobLog(tmp_path / "log"), percent)
            with suppress(StopError):
                rollout(*springs, out=tmp_path / "r", progress=listener, **HOW)
        return told.progress

    return run


def test_a_rollout_taken_up_at_nine_tenths_says_so_at_once(
    attempt: Callable[[int, float], list[JobProgress]],
) -> None:
    before = attempt(18, 0.0)
    assert before[-1].percent == pytest.approx(2.0 + 98.0 * 0.9)
    # even where nothing is remembered of the attempt before
    first, *_, last = attempt(100, 0.0)
    assert (first.done, first.total, first.rows) == (180, 200, 0)
    assert first.percent == pytest.approx(2.0 + 98.0 * 0.9)
    assert (last.done, last.rows, last.percent) == (200, 20, 100.0)


def test_attempts_that_gain_a_twentieth_each_all_gain_percents(
    attempt: Callable[[int, float], list[JobProgress]],
) -> None:
    percent = attempt(17, 0.0)[-1].percent
    for _ in range(2):
        gained = attempt(1, percent)[-1].percent - percent
        assert gained == pytest.approx(4.9)
        percent += gained


def test_speed_and_time_to_go_are_those_of_this_attempt(
    attempt: Callable[[int, float], list[JobProgress]],
) -> None:
    attempt(17, 0.0)
    first, second, *_ = attempt(2, 0.0)
    assert first.remaining_seconds is None
    assert (second.done, second.rows) == (180, 10)
    assert second.remaining_seconds == pytest.approx(20 / second.rows_per_second, rel=0.01)
    # the command line that watches the job says the same
    told = ProgressDocument(**second.to_json())
    shown = text_of(told.model_copy(update={"rows_per_second": 2.0}))
    assert shown.startswith("90 % · rollout 180/200 · 2 steps/s · ETA 10.0 s")
