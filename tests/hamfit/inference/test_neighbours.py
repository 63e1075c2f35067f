"""Graphs that remember, against the graph that searches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from engine_cases import plain_path

from hamfit.errors import GraphError
from hamfit.features.block import AbstractBlock
from hamfit.features.field import FieldBlock
from hamfit.features.manybody import ManyBodyBlock
from hamfit.features.pair import PairBlock
from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph, Edges, Prepared
from hamfit.inference import CompiledModel
from hamfit.inference.neighbours import SKIN, SkinGraphs
from hamfit.integrators import VERLET
from hamfit.model import Model
from hamfit.types import FloatArray
from radial_oracle import random_radial
from worlds import CASES, Case, everyone, liquid

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


class Remembering:
    """A graph whose lists are kept."""

    def __init__(self, graph: CutoffGraph) -> None:
        self.graph, self.lists = graph, SkinGraphs()

    def prepare(self, frame: Frame) -> Prepared:
        return self.lists.prepare(self.graph, frame)

    def forget(self) -> None:
        self.lists.forget()


def graphs(case: Case) -> tuple[CutoffGraph, Remembering]:
    graph = CutoffGraph(case.frame().labels, case.cutoffs)
    return graph, Remembering(graph)


def table(edges: Edges) -> FloatArray:
    """Edges in an order of their own: centre, neighbour, channel, vector, distance."""
    centre = np.repeat(np.arange(edges.n_centres), np.diff(edges.offsets))
    rows = np.column_stack([centre, edges.neighbour, edges.channel, edges.vector, edges.distance])
    return np.asarray(rows[np.lexsort(np.round(rows, 9).T[::-1])])


def searches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    count, search = [0], SkinGraphs._search

    def counted(self: SkinGraphs, graph: CutoffGraph, frame: Frame, length: float) -> object:
        count[0] += 1
        return search(self, graph, frame, length)

    monkeypatch.setattr(SkinGraphs, "_search", counted)
    return count


@each_case
def test_edges_are_those_of_a_search_wherever_particles_go(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, skin = graphs(case)
    count = searches(monkeypatch)
    rng, frame = np.random.default_rng(3), case.frame()
    q = frame.q.copy()
    if frame.box is not None:
        q += rng.integers(-2, 3, q.shape) @ frame.box
    step = 0.2 * SKIN * graph.max_cutoff
    for _ in range(60):
        now = replace(frame, q=q)
        expected, got = (table(g.prepare(now).edges(everyone(now))) for g in (graph, skin))
        np.testing.assert_array_equal(got, expected)
        q = q + rng.uniform(-1.0, 1.0, q.shape) * step
    assert 3 <= count[0] < 40


@each_case
def test_lists_are_kept_until_half_the_skin_is_used_up(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, skin = graphs(case)
    count = searches(monkeypatch)
    frame = case.frame()
    half = 0.5 * SKIN * graph.max_cutoff
    for moved, expected in ((0.0, 1), (0.99, 1), (-0.99, 1), (1.01, 2), (1.9, 2), (2.1, 3)):
        q = frame.q.copy()
        q[0, 0] += moved * half
        skin.prepare(replace(frame, q=q))
        assert count[0] == expected
    skin.forget()
    skin.prepare(frame)
    assert count[0] == 4


@each_case
def test_both_ends_of_an_edge_see_it_alike_to_the_last_bit(case: Case) -> None:
    _, skin = graphs(case)
    frame = case.frame()
    skin.prepare(frame)
    q = frame.q + np.random.default_rng(1).uniform(-0.03, 0.03, frame.q.shape)
    edges = skin.prepare(replace(frame, q=q)).edges(everyone(frame))
    centre = np.repeat(np.arange(edges.n_centres), np.diff(edges.offsets))
    there = {
        (i, j, *v) for i, j, v in zip(centre.tolist(), edges.neighbour.tolist(), edges.vector.tolist(), strict=True)
    }
    back = {(j, i, *(-x + 0.0 for x in v)) for i, j, *v in there}
    assert back == {(i, j, *(x + 0.0 for x in v)) for i, j, *v in there}


@each_case
def test_panels_in_any_order_are_parts_of_the_whole(case: Case) -> None:
    _, skin = graphs(case)
    frame = case.frame()
    prepared = skin.prepare(frame)
    whole = prepared.edges(everyone(frame))
    assert sorted(prepared.order.tolist()) == everyone(frame).tolist()
    centres = np.array([frame.n_particles - 1, 0, 0])
    part = prepared.edges(centres)
    for c, i in enumerate(centres):
        own, all_of_it = slice(*part.offsets[c : c + 2]), slice(*whole.offsets[i : i + 2])
        assert part.vector[own].tobytes() == whole.vector[all_of_it].tobytes()
        assert part.neighbour[own].tobytes() == whole.neighbour[all_of_it].tobytes()


def test_another_box_is_searched_anew() -> None:
    graph, skin = graphs(CASES[5])
    frame = CASES[5].frame()
    skin.prepare(frame)
    assert frame.box is not None
    wider = replace(frame, box=1.3 * frame.box)
    got, expected = (table(g.prepare(wider).edges(everyone(wider))) for g in (skin, graph))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_errors_are_those_of_a_search() -> None:
    _, skin = graphs(CASES[5])
    frame = CASES[5].frame()
    prepared = skin.prepare(frame)
    with pytest.raises(GraphError, match="centre 13 is no particle of the frame: it has particles 0 to 12"):
        prepared.edges(np.array([0, 13]))
    with pytest.raises(GraphError, match="centre -1 is no particle"):
        prepared.edges(np.array([-1]))
    q = frame.q.copy()
    q[0] = q[1]
    with pytest.raises(GraphError, match="particles 0 and 1 are at the same place"):
        skin.prepare(replace(frame, q=q)).edges(everyone(frame))
    q[0] = np.nan
    with pytest.raises(GraphError, match="finite"):
        skin.prepare(replace(frame, q=q))
    with pytest.raises(GraphError, match="relabel"):
        skin.prepare(replace(frame, labels=("A", "C")))
    near = frame.q.copy()
    near[0] = near[1] + 0.02
    skin.prepare(replace(frame, q=near))
    near = near.copy()
    near[0] = near[1]
    with pytest.raises(GraphError, match="particles 0 and 1 are at the same place"):
        skin.prepare(replace(frame, q=near)).edges(everyone(frame))


def test_blocks_that_join_the_same_particles_share_their_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[2]
    frame, (graph, _) = case.frame(), graphs(case)
    rng = np.random.default_rng(0)
    radial = random_radial(np.array([1.9, 1.6, 1.3]))
    shorter = CutoffGraph(graph.labels, 0.8 * graph.cutoffs)
    blocks: tuple[AbstractBlock, ...] = (
        PairBlock(radial, graph),
        ManyBodyBlock.sample([frame], graph, n_features=6, n_radial=2, n_bumps=4, l_max=2, rng=rng),
        PairBlock(random_radial(0.8 * np.array([1.9, 1.6, 1.3])), shorter),
        FieldBlock.sample([frame], n_features=3, sampler="elm", rng=rng),
    )
    skins = SkinGraphs()
    count = searches(monkeypatch)
    sources = [block.prepare(frame, skins) for block in blocks]
    assert count[0] == 2
    assert sources[0].order.tobytes() == sources[1].order.tobytes()
    for block, source in zip(blocks, sources, strict=True):
        theta = rng.normal(size=block.n_columns)
        energy, gradient = block.energy_and_gradient(source, theta)
        expected, steep = block.energy_and_gradient(block.prepare(frame), theta)
        assert energy == pytest.approx(expected, rel=1e-13)
        np.testing.assert_allclose(gradient, steep, rtol=0, atol=1e-12 * np.abs(steep).max())


def crystal_model() -> tuple[Frame, Model]:
    """Angular moments and pairs in a small periodic crystal of two species."""
    frame = liquid(np.random.default_rng(6), side=4, n_species=2, jitter=0.05)
    graph = CutoffGraph(frame.labels, np.array([[1.9, 1.7], [1.7, 1.6]]))
    rng = np.random.default_rng(2)
    many = ManyBodyBlock.sample([frame], graph, n_features=8, n_radial=3, n_bumps=4, l_max=2, rng=rng)
    pair = PairBlock(random_radial(np.array([1.9, 1.7, 1.6])), graph)
    theta = 0.1 * rng.normal(size=pair.n_columns), 0.05 * rng.normal(size=many.n_columns)
    extents = {"pair": np.array([[0.7, 1.9], [0.7, 1.7], [0.7, 1.6]])}
    return frame, Model((pair, many), theta, np.zeros(2), frame.labels, (), 3, {}, extents)


def test_blocks_run_on_lists_as_they_run_on_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    frame, model = crystal_model()
    assert frame.p is not None
    engine = CompiledModel(model).engine(frame, VERLET, 0.004)
    assert type(engine).__name__ == "BlocksEngine"
    engine.begin(frame.q, frame.p)
    expected = plain_path(
        lambda q: model.forces(replace(frame, q=q)), 1.0 / frame.masses, frame.q, frame.p, VERLET, 0.004, 60
    )
    count = searches(monkeypatch)
    engine.advance(60)
    # one search serves both blocks for some steps
    assert 1 < count[0] < 30
    for got, plain in zip(engine.state(), expected, strict=True):
        np.testing.assert_allclose(got, plain, rtol=0, atol=1e-10)


def test_what_follows_a_beginning_depends_on_nothing_before_it() -> None:
    frame, model = crystal_model()
    assert frame.p is not None
    ends = []
    for before in (0, 3, 25):
        engine = CompiledModel(model).engine(frame, VERLET, 0.004)
        engine.begin(frame.q, -frame.p)
        engine.advance(before)
        engine.begin(frame.q, frame.p)
        engine.advance(20)
        ends.append(engine.state())
    for q, p in ends[1:]:
        assert q.tobytes() == ends[0][0].tobytes()
        assert p.tobytes() == ends[0][1].tobytes()
