"""The cutoff graph against brute force and vesin, and the laws it promises."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from graph_oracles import CASES, LABELS, Case, assert_same_edges, brute_force, random_cases, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from vesin import NeighborList

from hamfit.errors import GraphError, SpecError
from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph, Edges, graph_from_attrs

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def graph_of(case: Case) -> CutoffGraph:
    return CutoffGraph(LABELS[: case.n_species], case.cutoffs())


def whole(case: Case, frame: Frame | None = None) -> Edges:
    return graph_of(case).prepare(frame or case.frame()).edges(np.arange(case.n))


def open_frame(q: list[list[float]], species: list[int] | None = None) -> Frame:
    points = np.array(q, dtype=float)
    kinds = np.array(species or [0] * len(points))
    return Frame(points, kinds, LABELS[: int(kinds.max()) + 1], np.ones(len(points)))


def periodic_frame(n: int, edge: float, seed: int) -> Frame:
    q = np.random.default_rng(seed).uniform(0, edge, (n, 3))
    return Frame(q, np.zeros(n, np.int64), ("A",), np.ones(n), np.eye(3) * edge, (True,) * 3)


@each_case
def test_edges_are_those_of_brute_force(case: Case) -> None:
    frame = case.frame()
    expected = brute_force(frame, case.cutoffs(), np.arange(case.n))
    assert expected.n_edges > 0
    assert_same_edges(whole(case), expected)


@settings(max_examples=60, deadline=None)
@given(random_cases())
def test_edges_are_those_of_brute_force_in_any_cell(case: Case) -> None:
    frame = case.frame()
    assert_same_edges(whole(case), brute_force(frame, case.cutoffs(), np.arange(case.n)))


@pytest.mark.parametrize(
    ("case", "pbc"),
    [
        (Case("liquid", 1500, 3, (True,) * 3, 0.0, 1, 6.3), [True, True, True]),
        (Case("triclinic", 1500, 3, (True,) * 3, 0.35, 1, 6.3), [True, True, True]),
        (Case("small triclinic", 40, 3, (True,) * 3, 0.35, 1, 1.4), [True, True, True]),
        (Case("slab", 1500, 3, (True, False, True), 0.2, 1, 6.3), [True, False, True]),
        (Case("open", 1500, 3, (False,) * 3, 0.0, 1, 6.3), [False, False, False]),
    ],
    ids=lambda value: value.name if isinstance(value, Case) else "",
)
def test_edges_are_those_of_vesin(case: Case, pbc: list[bool]) -> None:
    frame = case.frame()
    assert frame.box is not None
    lists = NeighborList(cutoff=1.0, full_list=True, sorted=True)
    i, j, vector, distance = lists.compute(frame.q, frame.box, pbc, quantities="ijDd")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(i.astype(np.int64), minlength=case.n))])
    expected = Edges(offsets, j.astype(np.int64), -vector, distance, np.zeros(len(i), np.int64))
    assert_same_edges(whole(case), expected)


@each_case
def test_each_pair_is_seen_from_both_sides_to_the_last_bit(case: Case) -> None:
    edges, centres = whole(case), np.arange(case.n)
    assert rows(edges, centres) == rows(edges, centres, backwards=True)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(CASES), st.data())
def test_a_panel_in_any_order_holds_the_same_bits_as_the_whole(case: Case, data: st.DataObject) -> None:
    prepared = graph_of(case).prepare(case.frame())
    all_edges = prepared.edges(np.arange(case.n))
    centres = np.array(data.draw(st.lists(st.integers(0, case.n - 1), max_size=20)), dtype=np.int64)
    panel = prepared.edges(centres)
    assert panel.n_centres == len(centres)
    for c, i in enumerate(centres):
        mine, its = slice(*panel.offsets[c : c + 2]), slice(*all_edges.offsets[i : i + 2])
        for name in ("neighbour", "vector", "distance", "channel"):
            np.testing.assert_array_equal(getattr(panel, name)[mine], getattr(all_edges, name)[its])


@each_case
def test_order_holds_every_particle_once(case: Case) -> None:
    np.testing.assert_array_equal(np.sort(graph_of(case).prepare(case.frame()).order), np.arange(case.n))


def test_panels_of_the_order_share_neighbours() -> None:
    prepared = CutoffGraph(("A",), np.array([[1.0]])).prepare(periodic_frame(6000, 10.0, seed=3))
    near = np.unique(prepared.edges(prepared.order[:100]).neighbour).size
    far = np.unique(prepared.edges(np.arange(100)).neighbour).size
    assert near < 0.7 * far


@each_case
def test_lattice_translations_of_single_particles_change_nothing(case: Case) -> None:
    frame = case.frame()
    assert frame.box is not None
    boxes = np.random.default_rng(5).integers(-2, 3, frame.q.shape) * np.array(frame.periodic)
    moved = replace(frame, q=frame.q + boxes @ frame.box)
    assert_same_edges(whole(case, moved), whole(case))


@each_case
def test_the_same_frame_gives_the_same_bits_again_and_from_threads(case: Case) -> None:
    first = whole(case)
    prepared = graph_of(case).prepare(case.frame())
    with ThreadPoolExecutor(2) as pool:
        for again in pool.map(prepared.edges, [np.arange(case.n)] * 4):
            for name in ("offsets", "neighbour", "vector", "distance", "channel"):
                np.testing.assert_array_equal(getattr(again, name), getattr(first, name))


def test_arrays_have_the_declared_types_even_when_empty() -> None:
    prepared = CutoffGraph(("A",), np.array([[0.5]])).prepare(open_frame([[0, 0], [7, 0]]))
    for centres in ([], [0, 1]):
        edges = prepared.edges(np.array(centres, dtype=np.int64))
        assert edges.vector.shape == (0, 3)
        assert edges.vector.dtype == edges.distance.dtype == np.float64
        assert edges.offsets.dtype == edges.neighbour.dtype == edges.channel.dtype == np.int64
        np.testing.assert_array_equal(edges.offsets, np.zeros(len(centres) + 1))


def test_a_dense_clump_in_a_wide_box_outgrows_the_first_guess() -> None:
    rng = np.random.default_rng(11)
    q = np.vstack([rng.normal(0, 0.1, (150, 3)), rng.uniform(0, 60, (50, 3))])
    frame = Frame(q, np.zeros(200, np.int64), ("A",), np.ones(200), np.eye(3) * 60, (True,) * 3)
    edges = CutoffGraph(("A",), np.array([[1.0]])).prepare(frame).edges(np.arange(200))
    assert edges.n_edges > 20_000
    assert_same_edges(edges, brute_force(frame, np.array([[1.0]]), np.arange(200)))


def test_particles_spread_over_many_lengths_take_few_cells() -> None:
    q = np.vstack([np.random.default_rng(2).normal(0, 1, (50, 3)), [[1e9, 0, 0]], [[0, -1e12, 3]]])
    frame = Frame(q, np.zeros(52, np.int64), ("A",), np.ones(52))
    edges = CutoffGraph(("A",), np.array([[1.0]])).prepare(frame).edges(np.arange(52))
    assert_same_edges(edges, brute_force(frame, np.array([[1.0]]), np.arange(52)))


def test_the_box_along_open_directions_is_ignored() -> None:
    case = next(case for case in CASES if case.name == "slab")
    frame = case.frame()
    assert frame.box is not None
    box = frame.box.copy()
    box[2] = 0
    assert_same_edges(whole(case, replace(frame, box=box)), whole(case))


def test_a_flat_system_in_space_is_joined() -> None:
    q = np.random.default_rng(4).uniform(0, 5, (80, 3))
    q[:, 1] = 2.0
    frame = Frame(q, np.zeros(80, np.int64), ("A",), np.ones(80))
    edges = CutoffGraph(("A",), np.array([[1.0]])).prepare(frame).edges(np.arange(80))
    assert_same_edges(edges, brute_force(frame, np.array([[1.0]]), np.arange(80)))


def test_positions_need_not_be_contiguous() -> None:
    case = CASES[0]
    frame = case.frame()
    turned = replace(frame, q=np.asfortranarray(frame.q))
    assert rows(whole(case, turned), np.arange(case.n)) == rows(whole(case), np.arange(case.n))


@pytest.mark.parametrize(
    "other", [[0.0, 0.0, 1e-11], [0.0, 0.0, 0.0], [4.0, -8.0, 0.0]], ids=["near", "exact", "image"]
)
def test_coincident_particles_are_named(other: list[float]) -> None:
    frame = periodic_frame(9, 4.0, seed=1)
    frame.q[7] = frame.q[3] + other
    prepared = CutoffGraph(("A",), np.array([[1.0]])).prepare(frame)
    with pytest.raises(GraphError, match="particles 3 and 7 are at the same place"):
        prepared.edges(np.array([1, 7]))


def test_particles_that_do_not_interact_may_coincide() -> None:
    frame = open_frame([[0, 0, 0], [0, 0, 0], [0.5, 0, 0]], [0, 1, 1])
    graph = CutoffGraph(("A", "B"), np.array([[1.0, 0.0], [0.0, 1.0]]))
    edges = graph.prepare(frame).edges(np.arange(3))
    np.testing.assert_array_equal(edges.offsets, [0, 0, 1, 2])
    np.testing.assert_array_equal(edges.channel, [2, 2])


def test_a_particle_exactly_at_the_cutoff_is_left_out() -> None:
    graph = CutoffGraph(("A",), np.array([[2.0]]))
    assert graph.prepare(open_frame([[0.0], [2.0]])).edges(np.arange(2)).n_edges == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_positions_that_are_not_finite_name_the_particle(value: float) -> None:
    frame = periodic_frame(9, 4.0, seed=1)
    frame.q[5, 1] = value
    with pytest.raises(GraphError, match="q of particle 5"):
        CutoffGraph(("A",), np.array([[1.0]])).prepare(frame)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([[4, 0, 0], [8, 0, 0], [0, 0, 4]], "box is singular"),
        ([[4, 0, 0], [0, 0, 0], [0, 0, 4]], "box is singular"),
        ([[4, 0, 0], [0, np.nan, 0], [0, 0, 4]], "box has entries that are not finite"),
    ],
)
def test_bad_boxes_are_refused(box: list[list[float]], message: str) -> None:
    frame = replace(periodic_frame(9, 4.0, seed=1), box=np.array(box, dtype=float))
    with pytest.raises(GraphError, match=message):
        CutoffGraph(("A",), np.array([[1.0]])).prepare(frame)


def test_a_frame_without_particles_is_refused() -> None:
    frame = Frame(np.zeros((0, 3)), np.zeros(0, np.int64), ("A",), np.zeros(0))
    with pytest.raises(GraphError, match="no particles"):
        CutoffGraph(("A",), np.array([[1.0]])).prepare(frame)


def test_a_cutoff_of_millions_of_neighbours_is_refused() -> None:
    with pytest.raises(GraphError, match="cutoff 1000 means about"):
        CutoffGraph(("A",), np.array([[1000.0]])).prepare(periodic_frame(9, 1.0, seed=1))


def test_species_named_otherwise_are_refused() -> None:
    with pytest.raises(GraphError, match=r"use frame\.relabel"):
        CutoffGraph(("B",), np.array([[1.0]])).prepare(open_frame([[0, 0, 0]]))


def test_species_beyond_the_table_are_refused() -> None:
    frame = replace(open_frame([[0, 0, 0], [1, 0, 0]]), species=np.array([0, 1]))
    with pytest.raises(GraphError, match="species of the frame has indices outside 0 to 0"):
        CutoffGraph(("A",), np.array([[1.0]])).prepare(frame)


@pytest.mark.parametrize("centre", [-1, 9, 10**9])
def test_a_centre_that_is_no_particle_is_refused(centre: int) -> None:
    prepared = CutoffGraph(("A",), np.array([[1.0]])).prepare(periodic_frame(9, 4.0, seed=1))
    with pytest.raises(GraphError, match=f"centre {centre} is no particle"):
        prepared.edges(np.array([3, centre]))


@pytest.mark.parametrize(
    ("cutoffs", "message"),
    [
        ([[1.0]], "have shape"),
        ([[1.0, 2.0], [3.0, 1.0]], "not symmetric"),
        ([[1.0, -2.0], [-2.0, 1.0]], "none negative"),
        ([[1.0, np.nan], [np.nan, 1.0]], "must be finite"),
        ([[0.0, 0.0], [0.0, 0.0]], "not all zero"),
    ],
)
def test_bad_cutoffs_are_refused(cutoffs: list[list[float]], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        CutoffGraph(("A", "B"), np.array(cutoffs))


def test_channels_are_unordered_pairs_of_species() -> None:
    graph = CutoffGraph(LABELS, np.ones((3, 3)))
    assert graph.channel_labels == ("A-A", "A-B", "A-C", "B-B", "B-C", "C-C")
    assert graph.n_channels == 6
    assert graph.max_cutoff == 1.0


@pytest.mark.parametrize("travel", ["json", "pickle"])
def test_a_graph_survives_the_journey_to_the_last_bit(travel: str) -> None:
    graph = CutoffGraph(("A", "B"), np.array([[0.1 + 0.2, 1 / 3], [1 / 3, 0.0]]))
    copy = (
        graph_from_attrs(json.loads(json.dumps(graph.to_attrs())))
        if travel == "json"
        else pickle.loads(pickle.dumps(graph))
    )
    assert isinstance(copy, CutoffGraph)
    assert copy.labels == graph.labels
    np.testing.assert_array_equal(copy.cutoffs, graph.cutoffs)


def test_the_graph_keeps_its_own_cutoffs() -> None:
    cutoffs = np.array([[1.0]])
    graph = CutoffGraph(("A",), cutoffs)
    cutoffs[0, 0] = 9.0
    assert graph.max_cutoff == 1.0
    with pytest.raises(ValueError, match="read-only"):
        graph.cutoffs[0, 0] = 2.0
