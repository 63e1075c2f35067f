"""Graphs on a device against those of the host: the same edges, in the same order, to the last bit."""

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
from hamfit.graphs import AbstractGraph, AllPairsGraph, BondGraph, CutoffGraph
from hamfit.graphs.device_cells import DeviceCells, HostEdgeSource, prepare_on_device
from hamfit.graphs.lattice import Lattice
from hamfit.kernels.cells import sort_into_cells
from hamfit.kernels.gpu_cells import sort_by_cell, wrap
from hamfit.kernels.wrapping import wrap as host_wrap
from hamfit.types import IntArray

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

NAMES = ("offsets", "neighbour", "vector", "distance", "channel")


def graph_of(case: Case) -> CutoffGraph:
    return CutoffGraph(LABELS[: case.n_species], case.cutoffs())


def liquid(n: int = 9) -> Frame:
    q = np.random.default_rng(1).uniform(0, 4.0, (n, 3))
    return Frame(q, np.zeros(n, np.int64), ("A",), np.ones(n), np.eye(3) * 4.0, (True,) * 3)


def assert_same(device: AbstractDevice, graph: AbstractGraph, frame: Frame, centres: IntArray) -> None:
    """The device's edges of the centres are those of the host, to the last bit."""
    expected = graph.prepare(frame).edges(centres)
    found = prepare_on_device(device, graph, frame).edges(device.upload(centres))
    assert (found.n_centres, found.n_edges) == (expected.n_centres, expected.n_edges)
    for name in NAMES:
        got, wanted = device.download(getattr(found, name)), getattr(expected, name)
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        assert got.tobytes() == np.ascontiguousarray(wanted).tobytes(), name


@each_case
def test_edges_are_those_of_the_host_to_the_last_bit(device: AbstractDevice, case: Case) -> None:
    frame = case.frame()
    prepared = prepare_on_device(device, graph_of(case), frame)
    assert isinstance(prepared, DeviceCells)
    np.testing.assert_array_equal(prepared.order, graph_of(case).prepare(frame).order)
    assert prepared.order.dtype == np.int64
    assert_same(device, graph_of(case), frame, prepared.order)


@settings(max_examples=60)
@given(random_cases(), st.data())
def test_panels_are_those_of_the_host_in_any_cell(device: AbstractDevice, case: Case, data: st.DataObject) -> None:
    centres = np.array(data.draw(st.lists(st.integers(0, case.n - 1), max_size=20)), dtype=np.int64)
    assert_same(device, graph_of(case), case.frame(), centres)


def test_a_liquid_of_several_blocks_of_threads_is_that_of_the_host(device: AbstractDevice) -> None:
    case = Case("liquid", 2000, 3, (True,) * 3, 0.2, 3, 6.3, windows=1)
    assert_same(device, graph_of(case), case.frame(), np.arange(2000))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flat_system_in_space_is_that_of_the_host(device: AbstractDevice, axis: int) -> None:
    q = np.random.default_rng(4).uniform(0, 5, (80, 3))
    q[:, axis] = 2.0
    frame = Frame(q, np.zeros(80, np.int64), ("A",), np.ones(80))
    assert_same(device, CutoffGraph(("A",), np.array([[1.0]])), frame, np.arange(80))


def test_particles_spread_over_many_lengths_are_those_of_the_host(device: AbstractDevice) -> None:
    q = np.vstack([np.random.default_rng(2).normal(0, 1, (50, 3)), [[1e9, 0, 0]], [[0, -1e12, 3]]])
    frame = Frame(q, np.zeros(52, np.int64), ("A",), np.ones(52))
    assert_same(device, CutoffGraph(("A",), np.array([[1.0]])), frame, np.arange(52))


def test_particles_on_a_lattice_at_the_cutoff_are_seen_as_the_host_sees_them(device: AbstractDevice) -> None:
    # squared distances that round to just below, just above and just at the squared cutoff
    corner = 0.1 * np.stack(np.meshgrid(*[np.arange(8.0)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    box = np.eye(3) * 0.8 + np.array([[0, 0, 0], [0.1, 0, 0], [0.3, 0.2, 0]])
    frame = Frame(corner, np.zeros(512, np.int64), ("A",), np.ones(512), box, (True,) * 3)
    for cutoff in (0.1, 0.2, 0.3, np.sqrt(0.05), np.sqrt(0.14)):
        assert_same(device, CutoffGraph(("A",), np.array([[cutoff]])), frame, np.arange(512))


@pytest.mark.parametrize(
    "other", [[0.0, 0.0, 1e-11], [0.0, 0.0, 0.0], [4.0, -8.0, 0.0]], ids=["near", "exact", "image"]
)
def test_coincident_particles_are_named_as_on_the_host(device: AbstractDevice, other: list[float]) -> None:
    frame = liquid()
    frame.q[7] = frame.q[3] + other
    prepared = prepare_on_device(device, CutoffGraph(("A",), np.array([[1.0]])), frame)
    with pytest.raises(GraphError, match="particles 3 and 7 are at the same place"):
        prepared.edges(device.upload(np.array([1, 7])))


def test_of_several_coincident_pairs_the_one_that_the_host_names_is_named(device: AbstractDevice) -> None:
    frame, graph = liquid(), CutoffGraph(("A",), np.array([[1.0]]))
    frame.q[7] = frame.q[3]
    frame.q[5] = frame.q[2] = frame.q[8]
    centres = np.array([3, 2, 5, 1])
    with pytest.raises(GraphError) as expected:
        graph.prepare(frame).edges(centres)
    with pytest.raises(GraphError) as got:
        prepare_on_device(device, graph, frame).edges(device.upload(centres))
    assert str(got.value) == str(expected.value)


def test_particles_that_do_not_interact_may_coincide(device: AbstractDevice) -> None:
    q = np.array([[0.0, 0, 0], [0, 0, 0], [0.5, 0, 0]])
    frame = Frame(q, np.array([0, 1, 1]), ("A", "B"), np.ones(3))
    assert_same(device, CutoffGraph(("A", "B"), np.array([[1.0, 0.0], [0.0, 1.0]])), frame, np.arange(3))


@pytest.mark.parametrize("centre", [-1, 9, 10**9])
def test_a_centre_that_is_no_particle_is_refused(device: AbstractDevice, centre: int) -> None:
    frame = liquid()
    frame.q[7] = frame.q[3]
    prepared = prepare_on_device(device, CutoffGraph(("A",), np.array([[1.0]])), frame)
    with pytest.raises(GraphError, match=f"centre {centre} is no particle"):
        prepared.edges(device.upload(np.array([3, centre, -5])))


def refused() -> dict[str, tuple[CutoffGraph, Frame]]:
    graph, frame = CutoffGraph(("A",), np.array([[1.0]])), liquid()
    nan = frame.q.copy()
    nan[5, 1] = np.nan
    return {
        "positions": (graph, replace(frame, q=nan)),
        "box": (graph, replace(frame, box=np.array([[4.0, 0, 0], [8, 0, 0], [0, 0, 4]]))),
        "species": (graph, replace(frame, species=np.full(9, 1))),
        "labels": (CutoffGraph(("B",), np.array([[1.0]])), frame),
        "cutoff": (CutoffGraph(("A",), np.array([[1000.0]])), frame),
        "none": (graph, Frame(np.zeros((0, 3)), np.zeros(0, np.int64), ("A",), np.zeros(0))),
    }


@pytest.mark.parametrize("name", refused())
def test_what_the_host_refuses_is_refused_in_its_words(device: AbstractDevice, name: str) -> None:
    graph, frame = refused()[name]
    with pytest.raises(GraphError) as expected:
        graph.prepare(frame)
    with pytest.raises(GraphError) as got:
        prepare_on_device(device, graph, frame)
    assert str(got.value) == str(expected.value)


@pytest.mark.parametrize("n", [300, 5000])
def test_the_mean_number_of_edges_is_measured(device: AbstractDevice, n: int) -> None:
    # a droplet in a wide box, where its mean density says nothing
    q = np.random.default_rng(3).uniform(0, 2.0, (n, 3))
    frame = Frame(q, np.zeros(n, np.int64), ("A",), np.ones(n), np.eye(3) * 20.0, (True,) * 3)
    graph = CutoffGraph(("A",), np.array([[0.3]]))
    expected = graph.prepare(frame).edges(np.arange(n)).n_edges / n
    assert prepare_on_device(device, graph, frame).edges_per_centre == pytest.approx(expected, rel=0.05)


def listed_graphs() -> dict[str, tuple[AbstractGraph, Frame]]:
    q = np.random.default_rng(6).uniform(0, 3.0, (90, 3))
    frame = Frame(q, np.arange(90) % 2, ("A", "B"), np.ones(90))
    ring = np.column_stack([np.arange(90), (np.arange(90) + 1) % 90])
    bonded = replace(frame, bonds=ring, bond_types=np.arange(90) % 2, bond_labels=("soft", "hard"))
    return {"all pairs": (AllPairsGraph(("A", "B")), frame), "bonds": (BondGraph(("soft", "hard")), bonded)}


@pytest.mark.parametrize("name", listed_graphs())
def test_edges_of_other_graphs_are_uploaded(device: AbstractDevice, name: str) -> None:
    graph, frame = listed_graphs()[name]
    prepared = prepare_on_device(device, graph, frame)
    assert isinstance(prepared, HostEdgeSource)
    np.testing.assert_array_equal(prepared.order, np.arange(90))
    assert prepared.edges_per_centre == (89 if name == "all pairs" else 2)
    assert_same(device, graph, frame, np.array([5, 80, 80, 0]))
    assert_same(device, graph, frame, np.array([], dtype=np.int64))


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_positions_are_wrapped_and_sorted_as_on_the_host(device: AbstractDevice, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, shape, which = int(rng.integers(1, 300)), rng.integers(1, 6, 3), rng.integers(0, 2, 3)
    box = np.eye(3) * 2.3 + rng.uniform(-0.4, 0.4, (3, 3))
    frame = Frame(rng.normal(0, 5, (n, 3)), np.zeros(n, np.int64), ("A",), np.ones(n), box, tuple(which == 1))
    lattice = Lattice.of(frame)
    wrapped, fractions, low, high = host_wrap(frame.q, lattice.vectors, lattice.inverse, lattice.periodic)
    scale = shape / (high - low + 1e-9)
    expected = sort_into_cells(fractions, low, scale, shape)
    x, s = wrap(
        device,
        device.upload(frame.q.T),
        device.upload(lattice.vectors),
        device.upload(lattice.inverse),
        device.upload(lattice.periodic.astype(np.int32)),
    )
    np.testing.assert_array_equal(device.download(x).T, wrapped)
    np.testing.assert_array_equal(device.download(s).T, fractions)
    grid = device.upload(shape.astype(np.int32))
    found = sort_by_cell(device, s, device.upload(low), device.upload(scale), grid, int(np.prod(shape)))
    for got, wanted in zip(found, expected, strict=True):
        assert got.dtype == np.int32
        np.testing.assert_array_equal(device.download(got), wanted)
