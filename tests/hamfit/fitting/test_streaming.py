"""Streaming a shard: the state it leaves stands for exactly the rows of the blocks, tables and fallback included."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import radial_oracle as oracle
from hamfit.data import Dataset
from hamfit.devices import AbstractDevice
from hamfit.errors import DataError
from hamfit.features.block import targets_of
from hamfit.features.kinetic import KineticBlock
from hamfit.features.manybody import ManyBodyBlock
from hamfit.features.pair import PairBlock
from hamfit.fitting import host_stream
from hamfit.fitting.basis import Basis, PartBasis, whitened_basis
from hamfit.fitting.frame_rows import FrameRows
from hamfit.fitting.partial import PartialState
from hamfit.fitting.shards import FrameTable, Shard
from hamfit.fitting.streaming import reduce_shard
from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph
from hamfit.graphs.cutoff import PreparedCells
from hamfit.reductions import Residuals, Tsqr, whiten
from hamfit.types import FloatArray
from worlds import everyone, force_of, liquids, write

FRAMES = liquids(1, 5, n_species=2)
LABELS = ("A", "B")
CUTOFFS = np.full((2, 2), 1.75)


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return write(tmp_path / "a.zarr", [FRAMES])


def raw_part() -> PartBasis:
    radial = oracle.random_radial(np.full(3, 1.75), n=4, maps=("1/r", "r", "r2"))
    return PartBasis("force", (PairBlock(radial, CutoffGraph(LABELS, CUTOFFS)),), target_scale=3.0)


def rows_of(part: PartBasis) -> FloatArray:
    """Rows [Z | u] of all frames by the block itself."""
    rows = [np.hstack([b.rows(b.prepare(f), everyone(f)) for b in part.blocks]) for f in FRAMES]
    targets = [-force_of(f).reshape(-1) / part.target_scale for f in FRAMES]
    return np.column_stack([np.vstack(rows), np.concatenate(targets)])


def shard_of(data: Dataset, **how: int) -> Shard:
    return replace(Shard(0, 0, FrameTable.of([data]).pieces(range(len(FRAMES)))), **how)


def gram_of(state: PartialState, kind: str = "force") -> FloatArray:
    upper = state.triangles[kind].unpack()
    return upper + np.triu(upper, 1).T


def assert_equal_up_to(got: FloatArray, expected: FloatArray, tolerance: float) -> None:
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected))) + 1e-300
    assert np.abs((got - expected) / scale).max() < tolerance


def test_raw_columns_are_the_rows_of_the_blocks(data: Dataset, place: AbstractDevice | None) -> None:
    part = raw_part()
    rows = rows_of(part)
    state = reduce_shard(shard_of(data), Basis((part,), LABELS, (), "normal"), place)
    assert_equal_up_to(gram_of(state), rows.T @ rows, 1e-12)
    assert state.n_rows == rows.shape[0]
    assert state.squares["force"] == pytest.approx(float(rows[:, -1] @ rows[:, -1]), rel=1e-12)
    factor = reduce_shard(shard_of(data), Basis((part,), LABELS, (), "tsqr"), place).triangles["force"].unpack()
    assert_equal_up_to(factor.T @ factor, rows.T @ rows, 1e-12)


def whitened(part: PartBasis, extent: FloatArray) -> PartBasis:
    accumulator = Tsqr(part.n_raw).accumulator()
    accumulator.absorb(rows_of(part))
    return whitened_basis(part, whiten(accumulator.state(), 1e-7), [extent])


def seen_extent() -> FloatArray:
    part = raw_part()
    block = part.blocks[0]
    assert isinstance(block, PairBlock)
    out = np.tile([np.inf, -np.inf], (3, 1))
    for frame in FRAMES:
        edges = block.prepare(frame).edges(everyone(frame))
        for c in range(3):
            lengths = edges.distance[edges.channel == c]
            out[c] = min(out[c, 0], lengths.min()), max(out[c, 1], lengths.max())
    return out


@pytest.mark.parametrize("share", [1.0, 0.6], ids=["table covers all", "many edges outside the table"])
def test_whitened_columns_through_tables_equal_whitened_rows(
    data: Dataset, place: AbstractDevice | None, share: float
) -> None:
    extent = seen_extent()
    narrow = extent.copy()
    narrow[:, 0] += (1.0 - share) * (extent[:, 1] - extent[:, 0])
    part = whitened(raw_part(), narrow)
    whitening = part.whitening
    assert whitening is not None
    rows = rows_of(part)
    white = rows[:, :-1] @ whitening.projection
    # targets become the residuals of the preliminary solution
    expected = np.column_stack([white, rows[:, -1] - white @ whitening.preliminary])
    state = reduce_shard(shard_of(data), Basis((part,), LABELS, (), "normal"), place)
    assert (sum(state.outside.values()) > 0) == (share < 1.0)
    assert_equal_up_to(gram_of(state), expected.T @ expected, 1e-9)
    np.testing.assert_array_equal(state.extents["pair"], extent)


@pytest.mark.parametrize("share", [1.0, 0.6], ids=["table covers all", "many edges outside the table"])
def test_passes_of_a_mixed_fit_give_the_columns_in_single_and_the_residuals_in_double_precision(
    data: Dataset, place: AbstractDevice | None, share: float
) -> None:
    narrow = seen_extent()
    narrow[:, 0] += (1.0 - share) * (narrow[:, 1] - narrow[:, 0])
    part = replace(whitened(raw_part(), narrow), frame_rows=(FrameRows("energy", 0.7, 2),))
    states = {
        reduction: reduce_shard(shard_of(data), Basis((part,), LABELS, (), reduction), place)
        for reduction in ("normal", "mixed", Residuals.name)
    }
    # rare rows stand beside the Gram matrix in the first passes, among all others in the last
    exact, single = (
        gram_of(states[name]) + (rare := states[name].triangles["force-rare"].unpack()).T @ rare
        for name in ("normal", "mixed")
    )
    assert np.abs(single - exact).max() > 0.0
    used = np.diag(exact) > 0.0
    assert_equal_up_to(single[np.ix_(used, used)], exact[np.ix_(used, used)], 1e-5)
    last = gram_of(states[Residuals.name])[:, -1]
    scale = np.sqrt(np.diag(exact) * exact[-1, -1])
    assert np.abs((last - exact[:, -1])[used] / scale[used]).max() < 1e-11
    assert "force-rare" not in states[Residuals.name].triangles
    assert states[Residuals.name].triangles["force"].n_rows == states["normal"].n_rows - len(FRAMES)
    assert states[Residuals.name].squares["force"] == pytest.approx(states["normal"].squares["force"], rel=1e-14)
    # energies are so few that they are never of single precision
    for name in ("mixed", Residuals.name):
        assert (
            states[name].triangles["energy"].packed.tobytes() == states["normal"].triangles["energy"].packed.tobytes()
        )


def test_particles_divide_a_frame_without_loss(data: Dataset, place: AbstractDevice | None) -> None:
    basis = Basis((raw_part(),), LABELS, (), "normal")
    whole = gram_of(reduce_shard(shard_of(data), basis, place))
    cuts = [shard_of(data, first=a, last=b) for a, b in ((0, 5), (5, 6), (6, 27))]
    parts = [gram_of(reduce_shard(cut, basis, place)) for cut in cuts]
    assert_equal_up_to(sum(parts, np.zeros_like(whole)), whole, 1e-12)


def test_a_sample_takes_as_many_particles_as_asked_and_the_same_ones_again(
    data: Dataset, place: AbstractDevice | None
) -> None:
    basis = Basis((raw_part(),), LABELS, (), "tsqr")
    shard = shard_of(data, sampled=7, seed=3)
    first, again = reduce_shard(shard, basis, place), reduce_shard(shard, basis, place)
    assert first.triangles["force"].n_rows == 7 * 3 * len(FRAMES)
    assert first.triangles["force"].packed.tobytes() == again.triangles["force"].packed.tobytes()
    other = reduce_shard(replace(shard, seed=4), basis, place)
    assert other.triangles["force"].packed.tobytes() != first.triangles["force"].packed.tobytes()


def test_energies_are_rows_of_features_and_counts(data: Dataset, place: AbstractDevice | None) -> None:
    part = replace(raw_part(), frame_rows=(FrameRows("energy", 0.7, 2),))
    state = reduce_shard(shard_of(data), Basis((part,), LABELS, (), "normal"), place)
    rows = []
    for frame in FRAMES:
        assert frame.potential_energy is not None
        counts = np.bincount(frame.species, minlength=2)
        energy = frame.potential_energy / part.target_scale
        row = np.concatenate([part.blocks[0].features(part.blocks[0].prepare(frame)), counts, [energy]])
        rows.append(row * part.target_scale / (0.7 * frame.n_particles))
    expected = np.array(rows)
    assert_equal_up_to(gram_of(state, "energy"), expected.T @ expected, 1e-11)
    assert state.triangles["energy"].n_rows == len(FRAMES)
    assert state.squares["energy"] == pytest.approx(float(np.sum(expected[:, -1] ** 2)), rel=1e-12)


@pytest.mark.parametrize("blocks", ["pair", "manybody", "pair and manybody"])
def test_a_frame_is_prepared_once_whatever_asks_for_it(
    data: Dataset, blocks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks that join the same particles share their graph, panels and energies too: a frame costs O(N)."""
    graph = CutoffGraph(LABELS, CUTOFFS)
    pair = PairBlock(oracle.random_radial(np.full(3, 1.75), n=4), CutoffGraph(LABELS, CUTOFFS))
    rng = np.random.default_rng(0)
    many = ManyBodyBlock.sample(FRAMES, graph, n_features=5, n_radial=2, n_bumps=3, l_max=1, rng=rng)
    chosen = tuple(block for block in (pair, many) if block.kind in blocks)
    part = PartBasis("force", chosen, target_scale=3.0, frame_rows=(FrameRows("energy", 0.7, 2),))
    prepared: list[int] = []
    prepare = CutoffGraph.prepare

    def counted(self: CutoffGraph, frame: Frame) -> PreparedCells:
        prepared.append(frame.n_particles)
        return prepare(self, frame)

    monkeypatch.setattr(CutoffGraph, "prepare", counted)
    # panels of a few particles each
    monkeypatch.setattr(host_stream, "PANEL_ROWS", 12)
    state = reduce_shard(shard_of(data), Basis((part,), LABELS, (), "normal"))
    assert state.triangles["force"].n_rows == 27 * 3 * len(FRAMES)
    assert len(prepared) == len(FRAMES)


def test_force_and_velocity_rows_are_kept_apart(data: Dataset, place: AbstractDevice | None) -> None:
    kinetic = KineticBlock(oracle.random_radial(np.full(2, np.inf), maps=("r2",), taper="shift"), LABELS)
    velocity = PartBasis("velocity", (kinetic,), target_scale=1.3)
    state = reduce_shard(shard_of(data), Basis((velocity, raw_part()), LABELS, (), "normal"), place)
    assert sorted(state.triangles) == ["force", "velocity"]
    rows = np.vstack([kinetic.rows(kinetic.prepare(f), everyone(f)) for f in FRAMES])
    targets = np.concatenate([targets_of(f, "velocity").reshape(-1) for f in FRAMES]) / 1.3
    joined = np.column_stack([rows, targets])
    assert_equal_up_to(gram_of(state, "velocity"), joined.T @ joined, 1e-12)


def test_a_basis_survives_its_store_bit_for_bit(data: Dataset, place: AbstractDevice | None) -> None:
    part = whitened(raw_part(), seen_extent())
    basis = Basis((part,), LABELS, (), "normal")
    attrs, arrays = basis.to_store()
    again = Basis.from_store(json.loads(json.dumps(attrs)), arrays)
    one, two = reduce_shard(shard_of(data), basis, place), reduce_shard(shard_of(data), again, place)
    assert one.triangles["force"].packed.tobytes() == two.triangles["force"].packed.tobytes()
    assert again.parts[0].n_columns == part.n_columns
    assert again.parts[0].table_error() == part.table_error()


def test_targets_that_a_frame_lacks_are_named() -> None:
    frame = FRAMES[0]
    np.testing.assert_array_equal(targets_of(frame, "force"), -force_of(frame))
    with pytest.raises(DataError, match="a frame has no forces"):
        targets_of(replace(frame, pdot=None), "force")
    with pytest.raises(DataError, match="a frame has no velocities"):
        targets_of(replace(frame, qdot=None), "velocity")
