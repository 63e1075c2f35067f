"""The all-pairs graph, and graphs read from damaged stores."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from graph_oracles import LABELS, assert_same_edges, brute_force, rows

from hamfit.errors import GraphError, SpecError, StoreError
from hamfit.frames import Frame
from hamfit.graphs import AllPairsGraph, graph_from_attrs


def open_frame(n: int, dim: int) -> Frame:
    rng = np.random.default_rng(n)
    return Frame(rng.normal(size=(n, dim)), rng.integers(0, 3, n), LABELS, np.ones(n))


@pytest.mark.parametrize(("n", "dim"), [(1, 3), (2, 1), (7, 2), (31, 3)])
def test_all_pairs_are_those_within_an_endless_cutoff(n: int, dim: int) -> None:
    frame = open_frame(n, dim)
    edges = AllPairsGraph(LABELS).prepare(frame).edges(np.arange(n))
    assert edges.n_edges == n * (n - 1)
    assert_same_edges(edges, brute_force(frame, np.full((3, 3), 1e3), np.arange(n)))
    assert rows(edges, np.arange(n)) == rows(edges, np.arange(n), backwards=True)


def test_a_panel_holds_the_same_bits_as_the_whole() -> None:
    prepared = AllPairsGraph(LABELS).prepare(open_frame(11, 3))
    whole, panel = prepared.edges(prepared.order), prepared.edges(np.array([7, 0, 7]))
    which = np.concatenate([np.arange(i * 10, i * 10 + 10) for i in (7, 0, 7)])
    for name in ("neighbour", "vector", "distance", "channel"):
        np.testing.assert_array_equal(getattr(panel, name), getattr(whole, name)[which])


def test_no_centres_have_no_edges() -> None:
    edges = AllPairsGraph(LABELS).prepare(open_frame(5, 3)).edges(np.zeros(0, np.int64))
    assert edges.vector.shape == (0, 3)
    np.testing.assert_array_equal(edges.offsets, [0])


def test_a_periodic_frame_is_refused() -> None:
    frame = replace(open_frame(5, 3), box=np.eye(3), periodic=(False, True, False))
    with pytest.raises(GraphError, match="the frame is periodic"):
        AllPairsGraph(LABELS).prepare(frame)


def test_coincident_particles_are_named() -> None:
    frame = open_frame(5, 3)
    frame.q[4] = frame.q[1]
    with pytest.raises(GraphError, match="particles 1 and 4 are at the same place"):
        AllPairsGraph(LABELS).prepare(frame).edges(np.arange(5))


def test_a_centre_that_is_no_particle_is_refused() -> None:
    with pytest.raises(GraphError, match="centre 5 is no particle"):
        AllPairsGraph(LABELS).prepare(open_frame(5, 3)).edges(np.array([5]))


def test_a_graph_without_species_is_refused() -> None:
    with pytest.raises(SpecError, match="labels is empty"):
        AllPairsGraph(())


def test_a_stored_graph_is_equal() -> None:
    copy = graph_from_attrs(json.loads(json.dumps(AllPairsGraph(LABELS).to_attrs())))
    assert isinstance(copy, AllPairsGraph)
    assert copy.labels == LABELS


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({"kind": "hypergraph"}, "unknown kind 'hypergraph'"),
        ({}, "unknown kind None"),
        ({"kind": "cutoff", "labels": ["A"]}, "is damaged"),
        ({"kind": "cutoff", "labels": ["A"], "cutoffs": [["x"]]}, "is damaged"),
        ({"kind": "cutoff", "labels": ["A", "B"], "cutoffs": [[1.0]]}, "is damaged"),
        ({"kind": "bonds"}, "is damaged"),
        ({"kind": "all-pairs", "labels": None}, "is damaged"),
    ],
)
def test_damaged_descriptions_are_refused(attrs: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        graph_from_attrs(attrs)
