"""The bond graph against brute-force minimum images, and what it refuses."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from graph_oracles import rows
from hypothesis import given, settings
from hypothesis import strategies as st

from hamfit.errors import GraphError, SpecError
from hamfit.frames import Frame
from hamfit.graphs import BondGraph, Edges, graph_from_attrs
from hamfit.types import FloatArray, IntArray


def frame_of(
    q: FloatArray,
    bonds: IntArray | list[list[int]],
    types: list[int] | None = None,
    box: FloatArray | None = None,
    periodic: tuple[bool, ...] = (),
) -> Frame:
    n = len(q)
    return Frame(
        np.asarray(q, dtype=float),
        np.zeros(n, np.int64),
        ("A",),
        np.ones(n),
        box,
        periodic,
        bonds=np.array(bonds, dtype=np.int64).reshape(-1, 2),
        bond_types=None if types is None else np.array(types),
    )


def ring(n: int, edge: float = 1.0) -> Frame:
    """A periodic chain of n particles in one dimension, slightly displaced."""
    q = (np.arange(n)[:, None] + np.random.default_rng(3).uniform(-0.1, 0.1, (n, 1))) * edge
    bonds = [[i, (i + 1) % n] for i in range(n)]
    return frame_of(q, bonds, box=np.array([[n * edge]]), periodic=(True,))


def shortest_image(v: FloatArray, frame: Frame) -> float:
    """Least length over many more images than could be shortest."""
    if frame.box is None or not any(frame.periodic):
        return float(np.linalg.norm(v))
    vectors = frame.box[list(frame.periodic)]
    heights = 1 / np.linalg.norm(np.linalg.pinv(vectors), axis=0)
    most = [int(np.ceil(np.linalg.norm(v) / h)) for h in heights]
    counts = np.array(list(itertools.product(*(range(-m, m + 1) for m in most))), dtype=float)
    return float(np.linalg.norm(v - counts @ vectors, axis=1).min())


@settings(max_examples=60)
@given(
    dim=st.integers(1, 3),
    periodic=st.lists(st.booleans(), min_size=3, max_size=3),
    skew=st.sampled_from([0.0, 0.4, 1.3]),
    seed=st.integers(0, 10**6),
)
def test_bonds_are_shortest_images_in_any_cell(dim: int, periodic: list[bool], skew: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    box = np.diag(rng.uniform(0.7, 1.4, dim)) + skew * rng.uniform(-1, 1, (dim, dim)) * (1 - np.eye(dim))
    q = rng.uniform(-1.5, 1.5, (6, dim))
    bonds = np.array(list(itertools.combinations(range(6), 2)))
    rng.shuffle(bonds)
    frame = frame_of(q, bonds, box=box, periodic=tuple(periodic[:dim]))
    edges = BondGraph(("b",)).prepare(frame).edges(np.arange(6))
    owner = np.repeat(np.arange(6), np.diff(edges.offsets))
    for i, j, v, r in zip(owner, edges.neighbour, edges.vector, edges.distance, strict=True):
        assert r == pytest.approx(shortest_image(q[i] - q[j], frame), rel=1e-12)
        assert np.linalg.norm(v) == pytest.approx(r, rel=1e-14)
        count = (q[i] - q[j] - v[:dim]) @ np.linalg.inv(box)
        np.testing.assert_allclose(count, np.round(count) * np.array(frame.periodic), atol=1e-9)
        assert not v[dim:].any()


def test_each_bond_is_seen_from_both_sides_in_the_order_of_the_list() -> None:
    q = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0], [5.0, 5.0]])
    edges = BondGraph(("soft", "hard")).prepare(frame_of(q, [[2, 1], [0, 1]], [1, 0])).edges(np.arange(4))
    np.testing.assert_array_equal(edges.offsets, [0, 1, 3, 4, 4])
    np.testing.assert_array_equal(edges.neighbour, [1, 2, 0, 1])
    np.testing.assert_array_equal(edges.channel, [0, 1, 0, 1])
    np.testing.assert_array_equal(edges.vector, [[-1, 0, 0], [0, -2, 0], [1, 0, 0], [0, 2, 0]])
    np.testing.assert_array_equal(edges.distance, [1, 2, 1, 2])


def test_both_sides_agree_to_the_last_bit() -> None:
    edges = BondGraph(("b",)).prepare(ring(17, 1 / 3)).edges(np.arange(17))
    assert rows(edges, np.arange(17)) == rows(edges, np.arange(17), backwards=True)


@given(st.lists(st.integers(0, 10), max_size=15))
def test_a_panel_in_any_order_holds_the_same_bits_as_the_whole(chosen: list[int]) -> None:
    prepared = BondGraph(("b",)).prepare(ring(11))
    whole = prepared.edges(prepared.order)
    panel = prepared.edges(np.array(chosen, dtype=np.int64))
    picks = [np.arange(*whole.offsets[i : i + 2]) for i in chosen]
    which = np.concatenate([np.zeros(0, np.int64), *picks])
    for name in ("neighbour", "vector", "distance", "channel"):
        np.testing.assert_array_equal(getattr(panel, name), getattr(whole, name)[which])


def test_a_ring_closes_around_the_box() -> None:
    edges = BondGraph(("b",)).prepare(ring(5)).edges(np.array([0]))
    np.testing.assert_array_equal(edges.neighbour, [1, 4])
    assert edges.distance.max() < 1.3


def test_a_frame_whose_bond_list_is_empty_has_no_edges() -> None:
    edges = BondGraph(("b",)).prepare(frame_of(np.eye(3), [])).edges(np.arange(3))
    np.testing.assert_array_equal(edges.offsets, [0, 0, 0, 0])
    assert isinstance(edges, Edges)
    assert edges.vector.shape == (0, 3)


def test_a_periodic_lattice_of_two_cells_is_refused() -> None:
    with pytest.raises(GraphError, match="bonds join particles 1 and 0 twice"):
        BondGraph(("b",)).prepare(ring(2))


@pytest.mark.parametrize(
    ("bonds", "types", "message"),
    [
        ([[0, 1], [1, 2], [0, 1]], None, "join particles 0 and 1 twice"),
        ([[0, 1], [1, 3]], None, "bonds name particle 3"),
        ([[0, 1], [-1, 2]], None, "bonds name particle -1"),
        ([[0, 1], [2, 2]], None, "bond 1 joins particle 2 to itself"),
        ([[0, 1], [1, 2]], [0, 1], "bond_types has indices outside 0 to 0"),
        ([[0, 1], [1, 2]], [0], r"bond_types has shape \(1,\) for 2 bonds"),
    ],
)
def test_bad_bonds_are_refused(bonds: list[list[int]], types: list[int] | None, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        BondGraph(("b",)).prepare(frame_of(np.eye(3), bonds, types))


def test_bonds_of_the_wrong_shape_are_refused() -> None:
    frame = replace(frame_of(np.eye(3), []), bonds=np.zeros((2, 3), np.int64))
    with pytest.raises(GraphError, match=r"bonds has shape \(2, 3\)"):
        BondGraph(("b",)).prepare(frame)


def test_a_frame_without_bonds_is_refused() -> None:
    with pytest.raises(GraphError, match="the frame has no bonds"):
        BondGraph(("b",)).prepare(replace(frame_of(np.eye(3), []), bonds=None))


def test_bonds_without_types_are_refused_where_there_are_several() -> None:
    with pytest.raises(GraphError, match="the frame has no bond_types"):
        BondGraph(("soft", "hard")).prepare(frame_of(np.eye(3), [[0, 1]]))


def test_bond_types_named_otherwise_are_refused() -> None:
    frame = replace(frame_of(np.eye(3), [[0, 1]], [0]), bond_labels=("stiff",))
    with pytest.raises(GraphError, match=r"use frame\.relabel"):
        BondGraph(("soft",)).prepare(frame)


def test_bonded_particles_at_one_place_are_named() -> None:
    q = np.array([[0.0, 0.0], [0.5, 0.0], [3.0, 4.0]])
    frame = frame_of(q, [[0, 1], [2, 0]], box=np.diag([3.0, 4.0]), periodic=(True, True))
    with pytest.raises(GraphError, match="particles 0 and 2 are at the same place"):
        BondGraph(("b",)).prepare(frame)


def test_a_centre_that_is_no_particle_is_refused() -> None:
    with pytest.raises(GraphError, match="centre 11 is no particle"):
        BondGraph(("b",)).prepare(ring(11)).edges(np.array([11]))


def test_a_graph_without_bond_types_is_refused() -> None:
    with pytest.raises(SpecError, match="bond_labels is empty"):
        BondGraph(())


def test_a_stored_graph_is_equal() -> None:
    graph = BondGraph(("soft", "hard"))
    copy = graph_from_attrs(json.loads(json.dumps(graph.to_attrs())))
    assert isinstance(copy, BondGraph)
    assert copy.channel_labels == ("soft", "hard")
