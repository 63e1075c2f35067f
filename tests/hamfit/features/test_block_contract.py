"""The contract of blocks, one suite for every block on every device: what is filled, pooled and refused."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import hamfit
import hamfit_service
import radial_oracle as oracle
from asking import energy_of, features_of, rows_of
from hamfit.devices import AbstractDevice
from hamfit.devices.planner import PanelPlan
from hamfit.errors import DataError, ModelError
from hamfit.features.block import AbstractBlock, Panel
from hamfit.features.field import FieldBlock
from hamfit.features.kinetic import KineticBlock
from hamfit.features.manybody import ManyBodyBlock
from hamfit.features.pair import PairBlock
from hamfit.features.source import Range
from hamfit.features.tables import RadialTable
from hamfit.frames import Frame
from hamfit.graphs import AllPairsGraph, BondGraph, CutoffGraph, FrameGraphs, Prepared
from hamfit.types import FloatArray, IntArray
from worlds import CASES, LABELS, Case, everyone, moved


@dataclass(frozen=True)
class Row:
    """A block and a frame that suits it."""

    name: str
    block: AbstractBlock
    frame: Frame


class HostedPair(PairBlock):
    """A block with a graph and a table, as another package may write it: without kernels for devices."""

    kind = "hosted"
    on_device = AbstractBlock.on_device


class OpenPair(PairBlock):
    """The same kernels, for open space alone."""

    kind = "open"
    needs_open_space = True


def _rows() -> list[Row]:
    rng, found = np.random.default_rng(4), []
    for case in (CASES[2], CASES[5]):
        frame, graph = case.frame(), CutoffGraph(LABELS[: case.n_species], case.cutoffs)
        many = [
            ManyBodyBlock.sample([frame], graph, n_features=9, n_radial=n, n_bumps=4, l_max=l_max, rng=rng)
            for n, l_max in ((3, 2), (1, 0))
        ]
        found += [
            Row(f"pair-{case.name}", PairBlock(oracle.random_radial(np.array([1.9, 1.6, 1.3])), graph), frame),
            Row(f"hosted-{case.name}", HostedPair(oracle.random_radial(np.array([1.9, 1.6, 1.3])), graph), frame),
            Row(f"kinetic-{case.name}", KineticBlock(oracle.random_radial(np.full(2, np.inf)), LABELS), frame),
            Row(f"manybody-{case.name}", many[0], frame),
            Row(f"density-{case.name}", many[1], frame),
        ]
    cluster = CASES[2].frame()
    bonded = replace(cluster, bonds=np.array([[0, 1], [2, 3]]), bond_types=np.array([0, 1]), bond_labels=("a", "b"))
    return [
        *found,
        Row("pair-bonds", PairBlock(oracle.random_radial(np.full(2, np.inf)), BondGraph(("a", "b"))), bonded),
        Row("pair-all", PairBlock(oracle.random_radial(np.full(3, np.inf)), AllPairsGraph(LABELS)), cluster),
        Row("field", FieldBlock.sample([cluster], n_features=5, sampler="elm", rng=rng), cluster),
    ]


ROWS = _rows()
each = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def nothing_seen(block: AbstractBlock) -> FloatArray:
    return np.tile([np.inf, -np.inf], (block.n_extents, 1))


def filled(
    row: Row, place: AbstractDevice | None, centres: IntArray, table: RadialTable | None, width: int
) -> tuple[FloatArray, FloatArray, int]:
    """Local columns between two that must stay as they were, what was seen, and how many edges were left out."""
    block, frame = row.block, row.frame
    seen = nothing_seen(block)
    out = np.full((centres.size * frame.dim, width + 2), 7.0)
    if place is None:
        outside = block.fill(block.prepare(frame), Panel(centres, out), 1, seen, table)
    else:
        there, made = place.upload(out), block.on_device(place, table)
        source = made.prepare(frame, FrameGraphs())
        outside = made.fill(source, Panel(centres, there, place.upload(centres)), 1, seen)
        out = place.download(there)
    assert (out[:, 0] == 7.0).all()
    assert (out[:, -1] == 7.0).all()
    return out[:, 1:-1], seen, 0 if outside is None else outside.row.size


@each
def test_local_columns_without_a_table_are_the_rows(row: Row, place: AbstractDevice | None) -> None:
    centres = everyone(row.frame)[::-1].copy()
    expected = rows_of(row.block, row.frame, centres)
    got, seen, left_out = filled(row, place, centres, None, row.block.n_columns)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * (np.abs(expected).max() + 1e-3))
    assert left_out == 0
    if row.block.n_extents:
        edges = row.block.prepare(row.frame).edges(centres)
        lengths = [edges.distance[edges.channel == c] for c in range(row.block.n_extents)]
        expected = np.array([(x.min(), x.max()) if x.size else (np.inf, -np.inf) for x in lengths])
        np.testing.assert_array_equal(seen, expected)


@each
def test_local_columns_of_a_table_lift_to_the_rows(row: Row, place: AbstractDevice | None) -> None:
    block, k = row.block, 4
    rng = np.random.default_rng(1)
    projection, preliminary = rng.normal(size=(block.n_columns, k)), rng.normal(size=k)
    whole = nothing_seen(block)
    rows = np.zeros((row.frame.q.size, block.n_columns))
    block.fill(block.prepare(row.frame), Panel(everyone(row.frame), rows), 0, whole)
    extent = np.where(np.isfinite(whole), whole, np.nan)
    # half of the range, so that some edges are outside
    extent[:, 0] += 0.5 * (extent[:, 1] - extent[:, 0])
    table = block.tabulate(extent, projection, preliminary)
    assert (table is not None) == block.is_tabulated
    if table is None:
        return
    centres = everyone(row.frame)
    local, *_, left_out = filled(row, place, centres, table, table.n_local)
    white = local @ table.lift
    outside = block.fill(
        block.prepare(row.frame), Panel(centres, np.zeros_like(local)), 0, nothing_seen(block), table
    )
    assert left_out == (0 if outside is None else outside.row.size)
    if outside is not None:
        additions = block.beyond_table(outside, projection)
        for axis in range(row.frame.dim):
            np.add.at(white, outside.row + axis, additions[:, axis])
    expected = rows_of(block, row.frame) @ projection
    np.testing.assert_allclose(white, expected, rtol=0, atol=1e-8 * np.abs(expected).max())


@each
def test_pooled_features_are_alike_everywhere(row: Row, place: AbstractDevice | None) -> None:
    expected = features_of(row.block, row.frame)
    if place is None:
        return
    made = row.block.on_device(place)
    got = made.features(made.prepare(row.frame, FrameGraphs()), PanelPlan(place))
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


def test_blocks_on_a_device_share_what_the_processor_made_of_a_graph(
    device: AbstractDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = next(row for row in ROWS if isinstance(row.block.graph, CutoffGraph))
    graphs, prepared = FrameGraphs(), []
    prepare = CutoffGraph.prepare

    def counted(graph: CutoffGraph, frame: Frame) -> Prepared:
        prepared.append(frame)
        return prepare(graph, frame)

    monkeypatch.setattr(CutoffGraph, "prepare", counted)
    for _ in range(2):
        made = row.block.on_device(device)
        made.hosted(made.prepare(row.frame, graphs))
    assert len(prepared) == 1


@each
def test_particles_stand_in_one_order_everywhere(row: Row, device: AbstractDevice) -> None:
    """Shards are slices of it, and workers with and without a device share them."""
    host, there = row.block.prepare(row.frame), row.block.on_device(device).prepare(row.frame, FrameGraphs())
    assert there.has_order == host.has_order == (row.block.graph is not None)
    np.testing.assert_array_equal(there.order, host.order)


def test_a_frame_that_a_block_refuses_is_refused_everywhere(place: AbstractDevice | None) -> None:
    case = CASES[5]
    block = OpenPair(oracle.random_radial(np.array([1.9, 1.6, 1.3])), CutoffGraph(LABELS, case.cutoffs))
    asked = block if place is None else block.on_device(place)
    with pytest.raises(DataError, match="the open block needs absolute positions, which a periodic box does not have"):
        asked.prepare(case.frame(), FrameGraphs())


@each
def test_rows_are_the_derivatives_of_what_is_pooled(row: Row) -> None:
    what = "p" if row.block.part == "velocity" else "q"
    rows = rows_of(row.block, row.frame).reshape(row.frame.n_particles, row.frame.dim, -1)
    h = 1e-5
    for i in (0, row.frame.n_particles - 1):
        for axis in range(row.frame.dim):
            up, down = (features_of(row.block, moved(row.frame, i, axis, s * h, what)) for s in (1, -1))
            np.testing.assert_allclose(rows[i, axis], (up - down) / (2 * h), atol=2e-6 * (np.abs(rows).max() + 1e-3))


@each
def test_what_is_compiled_is_what_is_summed(row: Row) -> None:
    block, theta = row.block, np.random.default_rng(0).normal(size=row.block.n_columns)
    source = block.prepare(row.frame)
    energy, gradient = block.energy_and_gradient(source, theta)
    seen = np.array([[0.5, 2.0]] * block.n_extents) if block.n_extents else None
    got, steep = block.compiled(theta, block.extent(seen))(source, None)
    size = float(np.abs(features_of(block, row.frame) * theta).sum())
    assert abs(got - energy) < 1e-9 * size
    np.testing.assert_allclose(steep, gradient, rtol=0, atol=1e-8 * np.abs(gradient).max())
    np.testing.assert_allclose(energy, energy_of(block, row.frame, theta))


@each
def test_each_edge_passes_once_where_the_energy_is_asked_for(row: Row) -> None:
    """So that edges beyond those of training are counted while forces are computed, and not again."""
    block = row.block
    if block.graph is None:
        assert block.extent(None) is None
        return
    source = block.prepare(row.frame)
    total = source.edges(everyone(row.frame)).n_edges
    counted = replace(source, range=Range(np.tile([0.0, np.inf], (block.graph.n_channels, 1))))
    block.energy_and_gradient(counted, np.ones(block.n_columns))
    assert counted.range is not None
    assert (counted.range.total, counted.range.outside) == (total, 0)


@each
def test_virials_of_features_add_up_to_that_of_the_energy(row: Row) -> None:
    block, theta = row.block, np.random.default_rng(0).normal(size=row.block.n_columns)
    source, virial = block.prepare(row.frame), np.zeros((row.frame.dim,) * 2)
    if not block.has_virial_rows:
        with pytest.raises(ModelError, match=f"the {block.kind} block does not know the virials"):
            block.virials(source)
        return
    block.energy_and_gradient(source, theta, virial)
    got = np.einsum("kab,k->ab", block.virials(source), theta)
    np.testing.assert_allclose(got, virial, rtol=0, atol=1e-12 * np.abs(virial).max() + 1e-12)


def strained(frame: Frame, a: int, b: int, size: float) -> Frame:
    deform = np.eye(frame.dim)
    deform[a, b] += size
    return replace(frame, q=frame.q @ deform, box=None if frame.box is None else frame.box @ deform)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_virials_of_pair_features_are_their_derivatives_under_strain(case: Case) -> None:
    frame, h = case.frame(), 1e-5
    cutoffs = case.cutoffs[np.triu_indices(case.n_species)]
    block = PairBlock(oracle.random_radial(cutoffs), CutoffGraph(LABELS[: case.n_species], case.cutoffs))
    virials = block.virials(block.prepare(frame))
    for a in range(frame.dim):
        for b in range(frame.dim):
            up, down = (features_of(block, strained(frame, a, b, s * h)) for s in (1, -1))
            np.testing.assert_allclose(virials[:, a, b], -(up - down) / (2 * h), atol=1e-6 * np.abs(virials).max())


def _asks_for_types(tree: ast.AST, is_asked: Callable[[str], bool]) -> list[int]:
    """Lines that ask whether something is a block of some type."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
            names = {name.id for name in ast.walk(node.args[1]) if isinstance(name, ast.Name)}
            if any(is_asked(name) for name in names):
                found.append(node.lineno)
        if isinstance(node, ast.Compare) and ".kind" in ast.unparse(node):
            words = {x.value for x in ast.walk(node) if isinstance(x, ast.Constant) and isinstance(x.value, str)}
            if words & {"kinetic", "pair", "manybody", "field"}:
                found.append(node.lineno)
    return found


def test_nobody_asks_what_type_a_block_is() -> None:
    roots = [Path(package.__file__).parent for package in (hamfit, hamfit_service) if package.__file__]
    places = [
        f"{path}:{line}"
        for path in sorted(path for root in roots for path in root.rglob("*.py"))
        if path.parent.name != "features"
        for line in _asks_for_types(ast.parse(path.read_text(encoding="utf-8")), lambda name: name.endswith("Block"))
    ]
    assert places == []
