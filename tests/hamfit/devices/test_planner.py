from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamfit.devices.emulated import EmulatedDevice
from hamfit.devices.planner import FEWEST_CENTRES, MOST_CENTRES, PanelPlan
from hamfit.errors import DeviceError

MEMORY = 2**30


def plan(memory: int = MEMORY, **limits: int) -> PanelPlan:
    return PanelPlan(EmulatedDevice(memory), **limits)


@given(memory=st.integers(0, 2**40), centre_bytes=st.floats(0.0, 1e9))
def test_panels_are_powers_of_two_that_fit(memory: int, centre_bytes: float) -> None:
    found = plan(memory)
    found.measure(centre_bytes)
    assert found.centres.bit_count() == 1
    assert FEWEST_CENTRES <= found.centres <= MOST_CENTRES
    assert found.centres == FEWEST_CENTRES or found.centres * centre_bytes <= memory


def test_memory_of_about_the_same_size_gives_the_same_panels() -> None:
    sizes = set()
    for memory in (MEMORY, int(1.1 * MEMORY), int(1.3 * MEMORY)):
        found = plan(memory)
        found.measure(15_000.0)
        sizes.add(found.centres)
    assert sizes == {2**14}


@pytest.mark.parametrize("available", [2**20, 2**28, 2**32])
def test_what_else_is_in_memory_does_not_change_panels(monkeypatch: pytest.MonkeyPatch, available: int) -> None:
    # how rows are grouped decides the last bits of their sums
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=2**32, available=available))
    found = PanelPlan(EmulatedDevice())
    found.measure(2.0**17)
    assert found.centres == 2**13


def test_a_panel_that_did_not_fit_is_halved_for_good(caplog: pytest.LogCaptureFixture) -> None:
    found = plan()
    found.measure(5000.0)
    before = found.centres
    assert list(found.notes) == []
    with caplog.at_level(logging.WARNING):
        found.halve(found.centres)
    assert found.centres == before // 2
    assert f"panels now hold {before // 2} particles" in caplog.text
    found.measure(5000.0)
    assert found.centres == before // 2
    notes = found.notes
    assert [note.partition(":")[0] for note in notes] == ["emulated GPU ran out of memory"]
    # however often it happens, there is one thing to say
    found.halve(found.centres)
    assert found.notes == notes


def test_a_panel_that_can_hardly_be_smaller_ends_the_fit_with_advice() -> None:
    found = plan(fewest=16, most=64)
    found.measure(1.0)
    sizes = []
    for _ in range(2):
        found.halve(found.centres)
        sizes.append(found.centres)
    assert sizes == [32, 16]
    with pytest.raises(DeviceError, match=r"has no room for the rows of 16 particles: free its .* use the device cpu"):
        found.halve(found.centres)
