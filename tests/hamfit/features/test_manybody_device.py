"""Rows of the many-body block on a device: those of the processor, and the derivatives of its features."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_manybody import small_frame

from asking import features_of, rows_of
from hamfit.devices import AbstractDevice
from hamfit.features.block import Panel
from hamfit.features.manybody import ManyBodyBlock
from hamfit.features.manybody_device import BUDGET_BYTES, DeviceManyBody
from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph, FrameGraphs
from hamfit.types import FloatArray, IntArray

LABELS = ("A", "B", "C")
CUTOFFS = np.array([[2.3, 1.9, 1.5], [1.9, 1.7, 0.0], [1.5, 0.0, 1.6]])


@dataclass(frozen=True)
class Case:
    """A small system; periodic boxes are smaller than twice the cutoff, so particles meet their own images."""

    name: str
    dim: int = 3
    n: int = 8
    n_species: int = 2
    periodic: bool = True
    l_max: int = 3
    n_features: int = 13
    direct_links: bool = True

    def frame(self, seed: int = 11) -> Frame:
        return small_frame(self, LABELS, seed)

    def block(self, frame: Frame) -> ManyBodyBlock:
        graph = CutoffGraph(LABELS[: self.n_species], CUTOFFS[: self.n_species, : self.n_species].copy())
        return ManyBodyBlock.sample(
            [frame],
            graph,
            n_features=self.n_features,
            n_radial=5,
            n_bumps=4,
            l_max=self.l_max,
            direct_links=self.direct_links,
            # strong enough for tanh to bend
            weight_scale=1.0,
            rng=np.random.default_rng(3),
        )


CASES = [
    Case("open-one-species", n=11, n_species=1, periodic=False),
    Case("periodic-one-species", n_species=1, l_max=2),
    Case("periodic-two-species"),
    Case("three-species-two-apart", n=9, n_species=3),
    Case("no-direct-links", direct_links=False, l_max=1),
    Case("one-feature-for-two-species", n_features=1),
    Case("density-only", l_max=0),
    Case("plane", dim=2, n=5, l_max=2),
    Case("line", dim=1, n=3, n_species=1, l_max=1, direct_links=False),
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)


def device_rows(
    device: AbstractDevice, block: ManyBodyBlock, frame: Frame, centres: IntArray, budget_bytes: int = BUDGET_BYTES
) -> FloatArray:
    """The block's rows (C * d, n_columns), written into the middle of a larger array that stays as it was."""
    width = block.n_columns
    out = device.upload(np.full((centres.size * frame.dim, width + 5), 7.0))
    made = DeviceManyBody(device, block, budget_bytes)
    panel = Panel(centres, out, device.upload(centres))
    made.fill(made.prepare(frame, FrameGraphs()), panel, 3, np.zeros((0, 2)))
    filled = device.download(out)
    assert (filled[:, :3] == 7.0).all()
    assert (filled[:, 3 + width :] == 7.0).all()
    return filled[:, 3 : 3 + width]


def everyone(frame: Frame) -> IntArray:
    return np.arange(frame.n_particles, dtype=np.int64)


def close(rows: FloatArray, expected: FloatArray) -> None:
    """Equal to 1e-12 of the largest number of each column: sums over edges cancel."""
    scale = np.abs(expected).max(axis=0) + 1e-3 * np.abs(expected).max()
    assert (np.abs(rows - expected) <= 1e-12 * scale).all()


@each_case
def test_rows_equal_those_of_the_processor(device: AbstractDevice, case: Case) -> None:
    frame = case.frame()
    block = case.block(frame)
    close(device_rows(device, block, frame, everyone(frame)), rows_of(block, frame))


@pytest.mark.parametrize("l_max", range(4))
@pytest.mark.parametrize("n_species", [1, 2])
@pytest.mark.parametrize("direct_links", [True, False])
def test_rows_of_some_centres_equal_those_of_the_processor(
    device: AbstractDevice, l_max: int, n_species: int, direct_links: bool
) -> None:
    case = Case("some", n=5, n_species=n_species, l_max=l_max, direct_links=direct_links)
    frame = case.frame()
    block = case.block(frame)
    whole = rows_of(block, frame).reshape(frame.n_particles, -1)
    # in any order, and twice
    centres = np.array([3, 1, 3], dtype=np.int64)
    expected = whole[centres].reshape(-1, block.n_columns)
    close(device_rows(device, block, frame, centres), expected)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), case=st.sampled_from(CASES))
def test_rows_equal_those_of_the_processor_wherever_particles_are(
    device: AbstractDevice, seed: int, case: Case
) -> None:
    block = case.block(case.frame())
    frame = case.frame(seed)
    centres = np.random.default_rng(seed).permutation(frame.n_particles)[:3]
    close(device_rows(device, block, frame, centres), rows_of(block, frame, centres))


@each_case
def test_rows_are_the_derivatives_of_the_features(device: AbstractDevice, case: Case) -> None:
    frame = case.frame()
    block = case.block(frame)
    rows = device_rows(device, block, frame, everyone(frame)).reshape(frame.n_particles, frame.dim, -1)
    h = 1e-5
    scale = np.abs(rows).max() + 1e-3
    for i in range(0, frame.n_particles, 3):
        for axis in range(frame.dim):
            up, down = (features_of(block, moved(frame, i, axis, k * h)) for k in (1, -1))
            np.testing.assert_allclose(rows[i, axis], (up - down) / (2 * h), atol=1e-6 * scale)


def moved(frame: Frame, i: int, axis: int, step: float) -> Frame:
    q = frame.q.copy()
    q[i, axis] += step
    return replace(frame, q=q)


@pytest.mark.parametrize("budget_bytes", [1, 40_000, 120_000, 400_000])
def test_rows_do_not_depend_on_the_memory_they_may_use(device: AbstractDevice, budget_bytes: int) -> None:
    case = Case("periodic-two-species", n=13)
    frame = case.frame()
    block = case.block(frame)
    close(
        device_rows(device, block, frame, everyone(frame), budget_bytes),
        device_rows(device, block, frame, everyone(frame)),
    )


def test_the_same_input_gives_the_same_bits(device: AbstractDevice) -> None:
    case = CASES[2]
    frame = case.frame()
    first, second = (device_rows(device, case.block(frame), frame, everyone(frame)) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_a_particle_without_neighbours_has_rows_of_zeros(device: AbstractDevice) -> None:
    case = Case("open-one-species", n=11, n_species=1, periodic=False)
    block = case.block(case.frame())
    frame = Case("lone", n=2, n_species=1, periodic=False).frame()
    apart = replace(frame, q=np.array([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]]))
    assert not device_rows(device, block, apart, everyone(apart)).any()


def test_no_centres_have_no_rows(device: AbstractDevice) -> None:
    case = CASES[2]
    frame = case.frame()
    assert device_rows(device, case.block(frame), frame, np.empty(0, dtype=np.int64)).shape[0] == 0
