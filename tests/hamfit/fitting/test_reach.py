"""The cutoff that is chosen when nobody gives one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hamfit.errors import GraphError
from hamfit.features.manybody import ManyBodyBlock
from hamfit.features.survey import Survey
from hamfit.fitting.reach import MULTIPLES, choose_reach, nearest_distance, uniform_graph
from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph
from hamfit.types import FloatArray

LABELS = ("1",)
REACH = 2.0


def _crystal(seed: int, spacing: float = 1.0) -> Frame:
    """A rattled simple cubic crystal whose smooth many-body energy sum_i rho_i^2 ends at ``REACH`` spacings."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*3 * [np.arange(4.0)], indexing="ij"), axis=-1).reshape(-1, 3)
    q = spacing * (grid + rng.normal(scale=0.07, size=grid.shape))
    n = q.shape[0]
    bare = Frame(q, np.zeros(n, dtype=np.int64), LABELS, np.ones(n), 4.0 * spacing * np.eye(3), (True,) * 3)
    return Frame(bare.q, bare.species, LABELS, bare.masses, bare.box, bare.periodic, pdot=_forces(bare, spacing))


def _forces(frame: Frame, spacing: float) -> FloatArray:
    edges = uniform_graph(LABELS, REACH * spacing).prepare(frame).edges(np.arange(frame.n_particles))
    owner = np.repeat(np.arange(frame.n_particles), np.diff(edges.offsets))
    u = edges.distance / (REACH * spacing)
    density = np.bincount(owner, (1.0 - u**2) ** 3, minlength=frame.n_particles)
    slope = -6.0 * u * (1.0 - u**2) ** 2 / (REACH * spacing)
    pull = 2.0 * (density[owner] + density[edges.neighbour]) * slope / edges.distance
    gradient = np.zeros_like(frame.q)
    np.add.at(gradient, owner, pull[:, None] * edges.vector)
    return -gradient


def _make(graph: CutoffGraph) -> list[ManyBodyBlock]:
    frames = [_crystal(seed) for seed in range(4)]
    return [ManyBodyBlock.sample(frames, graph, n_features=40, l_max=0, rng=np.random.default_rng(0))]


def test_the_nearest_distance_follows_the_unit_of_length() -> None:
    near, far = (nearest_distance([_crystal(0, spacing)], LABELS) for spacing in (1.0, 3.0))
    assert 0.7 < near < 1.0
    assert far == pytest.approx(3.0 * near)


def test_candidates_are_judged_and_a_long_enough_one_is_chosen() -> None:
    found = Survey(tuple(_crystal(seed) for seed in range(4)), tuple(("data", "run", k) for k in range(4)))
    graph, judged = choose_reach(found, LABELS, _make)
    assert len(judged) == len(MULTIPLES)
    assert graph.max_cutoff == min(judged, key=lambda reach: reach.error).cutoff
    assert judged[0].error == max(reach.error for reach in judged)


class Swaying(ManyBodyBlock):
    """An energy of momenta that knows neighbours, as another package may have it: judged by velocities."""

    part = "velocity"


def test_a_block_of_velocities_is_judged_by_velocities() -> None:
    frames = tuple(_crystal(seed) for seed in range(4))
    moving = tuple(replace(frame, qdot=-np.asarray(frame.pdot), p=frame.q, pdot=None) for frame in frames)
    names = tuple(("data", "run", k) for k in range(4))

    def make(graph: CutoffGraph) -> list[ManyBodyBlock]:
        return [Swaying(block.graph, block.layer) for block in _make(graph)]

    assert choose_reach(Survey(moving, names), LABELS, make)[1] == choose_reach(Survey(frames, names), LABELS, _make)[1]


def test_particles_without_neighbours_are_refused() -> None:
    lonely = Frame(np.zeros((1, 3)), np.zeros(1, dtype=np.int64), LABELS, np.ones(1))
    with pytest.raises(GraphError, match="neighbour"):
        nearest_distance([lonely], LABELS)


def test_flat_sheets_and_an_atom_that_flew_away_do_not_set_the_scale() -> None:
    grid = np.stack(np.meshgrid(np.arange(5.0), np.arange(4.0), [0.0], indexing="ij"), axis=-1).reshape(-1, 3)
    q = np.vstack([grid, [[500.0, 0.0, 0.0]]])
    sheet = Frame(q, np.zeros(21, dtype=np.int64), LABELS, np.ones(21))
    assert nearest_distance([sheet], LABELS) == pytest.approx(1.0)
