"""Lists with a skin on a device against the host's graph: the same neighbours, and enough of them for a while."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from graph_oracles import CASES, LABELS, Case, random_cases
from hypothesis import given, settings
from hypothesis import strategies as st

from hamfit.devices import AbstractDevice
from hamfit.errors import GraphError
from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph
from hamfit.graphs.device_lists import DeviceLists, build_lists
from hamfit.graphs.graph import padded_positions
from hamfit.graphs.lattice import Lattice
from hamfit.types import FloatArray, IntArray

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

SKIN = 0.2


def lists_of(
    device: AbstractDevice, case: Case, frame: Frame, skin: float = SKIN, into: DeviceLists | None = None
) -> DeviceLists:
    q = device.upload(padded_positions(frame).T)
    species = device.upload(frame.species.astype(np.int32))
    return build_lists(device, q, species, Lattice.of(frame), case.cutoffs(), skin, into)


def read(device: AbstractDevice, lists: DeviceLists) -> tuple[IntArray, IntArray, IntArray, FloatArray]:
    """Lists as rows on the host: centre and neighbour by their sorted places, codes and translations."""
    listed, codes, counts = (device.download(array) for array in (lists.listed, lists.codes, lists.counts))
    used = np.arange(lists.room)[:, None] < counts
    centre = np.broadcast_to(np.arange(counts.size), used.shape)
    # centre after centre, slot after slot
    return centre.T[used.T], listed.T[used.T], codes.T[used.T], device.download(lists.translations)


def vectors_of(device: AbstractDevice, lists: DeviceLists, x: FloatArray) -> FloatArray:
    """Vectors of all listed pairs at positions x (N, 3), sorted."""
    centre, neighbour, codes, translations = read(device, lists)
    return np.asarray((x[centre] - x[neighbour]) - translations[codes])


def wide_graph(case: Case, skin: float) -> CutoffGraph:
    cutoffs = case.cutoffs()
    wide = np.where(cutoffs > 0.0, cutoffs * (1.0 + 1e-9) + skin, 0.0)
    return CutoffGraph(LABELS[: case.n_species], wide)


def assert_as_on_the_host(device: AbstractDevice, case: Case, frame: Frame, lists: DeviceLists, skin: float) -> None:
    """Order, neighbours and vectors are those of a graph with as wide cutoffs, to the last bit."""
    prepared = wide_graph(case, skin).prepare(frame)
    expected = prepared.edges(prepared.order)
    order = device.download(lists.order)
    np.testing.assert_array_equal(order, prepared.order)
    centre, neighbour, _, _ = read(device, lists)
    np.testing.assert_array_equal(centre, np.repeat(np.arange(order.size), np.diff(expected.offsets)))
    np.testing.assert_array_equal(order[neighbour], expected.neighbour)
    np.testing.assert_array_equal(vectors_of(device, lists, device.download(lists.x).T), expected.vector)


@each_case
def test_lists_are_the_edges_within_cutoff_and_skin(device: AbstractDevice, case: Case) -> None:
    frame = case.frame()
    lists = lists_of(device, case, frame)
    assert lists.listed.dtype == lists.codes.dtype == lists.counts.dtype == lists.order.dtype == np.int32
    assert_as_on_the_host(device, case, frame, lists, SKIN)


@settings(max_examples=40)
@given(random_cases(), st.sampled_from([0.0, 0.1, 0.4]))
def test_lists_in_any_cell_are_the_edges_within_cutoff_and_skin(
    device: AbstractDevice, case: Case, skin: float
) -> None:
    frame = case.frame()
    assert_as_on_the_host(device, case, frame, lists_of(device, case, frame, skin), skin)


@each_case
def test_lists_hold_until_half_the_skin_is_used_up(device: AbstractDevice, case: Case) -> None:
    frame = case.frame()
    lists = lists_of(device, case, frame)
    order = device.download(lists.order)
    rng = np.random.default_rng(8)
    step = rng.normal(size=frame.q.shape)
    step *= 0.499 * SKIN / np.linalg.norm(step, axis=1, keepdims=True)
    moved = replace(frame, q=frame.q + step)
    # as a run goes on: positions in the box of that time, and the same moves
    x = device.download(lists.x).T
    x[:, : frame.dim] += step[order]
    centre, neighbour, _, _ = read(device, lists)
    vectors = vectors_of(device, lists, x)
    cutoffs, kinds = case.cutoffs(), frame.species[order]
    distance = np.linalg.norm(vectors, axis=1)
    near = distance < cutoffs[kinds[centre], kinds[neighbour]]
    edges = CutoffGraph(LABELS[: case.n_species], cutoffs).prepare(moved).edges(order)
    np.testing.assert_array_equal(np.bincount(centre[near], minlength=case.n), np.diff(edges.offsets))
    expected = np.column_stack([np.repeat(order, np.diff(edges.offsets)), edges.neighbour, edges.vector])
    found = np.column_stack([order[centre[near]], order[neighbour[near]], vectors[near]])
    for table in (expected, found):
        table[:] = table[np.lexsort(np.round(table, 9).T[::-1])]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@each_case
def test_both_ends_of_a_pair_see_it_alike_to_the_last_bit(device: AbstractDevice, case: Case) -> None:
    lists = lists_of(device, case, case.frame())
    centre, neighbour, _, _ = read(device, lists)
    vectors = vectors_of(device, lists, device.download(lists.x).T)
    there = {(i, j, *v) for i, j, v in zip(centre.tolist(), neighbour.tolist(), vectors.tolist(), strict=True)}
    back = {(j, i, *(-x + 0.0 for x in v)) for i, j, *v in there}
    assert back == {(i, j, *(x + 0.0 for x in v)) for i, j, *v in there}


def test_arrays_are_used_again_where_they_have_room(device: AbstractDevice) -> None:
    case = CASES[1]
    frame = case.frame()
    first = lists_of(device, case, frame)
    assert first.room > int(first.counts.max())
    rng = np.random.default_rng(2)
    for _ in range(3):
        frame = replace(frame, q=frame.q + rng.normal(0, 0.02, frame.q.shape))
        again = lists_of(device, case, frame, into=first)
        assert again is first
        assert_as_on_the_host(device, case, frame, again, SKIN)


def test_lists_that_outgrow_their_arrays_get_new_ones(device: AbstractDevice) -> None:
    case = CASES[0]
    frame = case.frame()
    first = lists_of(device, case, frame)
    dense = replace(frame, q=frame.q * 0.4)
    second = lists_of(device, case, dense, into=first)
    assert second is not first
    assert second.room > first.room
    assert_as_on_the_host(device, case, dense, second, SKIN)


@pytest.mark.parametrize("what", ["particles", "box"])
def test_lists_of_something_else_are_not_written_over(device: AbstractDevice, what: str) -> None:
    case = CASES[4]
    frame = case.frame()
    first = lists_of(device, case, frame)
    kept = device.download(first.listed)
    if what == "particles":
        other = replace(frame, q=frame.q[:-1], species=frame.species[:-1], masses=frame.masses[:-1])
    else:
        assert frame.box is not None
        other = replace(frame, box=0.4 * frame.box, q=0.4 * frame.q)
    second = lists_of(device, case, other, into=first)
    assert second is not first
    np.testing.assert_array_equal(device.download(first.listed), kept)
    assert_as_on_the_host(device, case, other, second, SKIN)


def test_particles_at_one_place_are_neighbours(device: AbstractDevice) -> None:
    case = CASES[0]
    frame = case.frame()
    frame.q[7] = frame.q[3]
    lists = lists_of(device, case, frame)
    centre, neighbour, _, _ = read(device, lists)
    order = device.download(lists.order)
    own = order[neighbour[order[centre] == 3]].tolist()
    assert own.count(7) == 1
    assert 3 not in own


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("case", [CASES[0], CASES[7]], ids=["periodic", "open"])
def test_positions_that_are_not_finite_are_refused(device: AbstractDevice, case: Case, value: float) -> None:
    frame = case.frame()
    frame.q[5, 1] = value
    q = device.upload(frame.q.T)
    species = device.upload(frame.species.astype(np.int32))
    with pytest.raises(GraphError, match="q has entries that are not finite"):
        build_lists(device, q, species, Lattice.of(frame), case.cutoffs(), SKIN)
