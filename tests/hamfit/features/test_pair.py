from __future__ import annotations

import json

import numpy as np
import pytest

import radial_oracle as oracle
from asking import energy_of, features_of, gradient_of, rows_of
from hamfit.features.pair import PairBlock
from hamfit.frames import Frame
from hamfit.graphs import AllPairsGraph, BondGraph, CutoffGraph
from hamfit.types import FloatArray
from worlds import CASES, Case, everyone, moved, pairs

each_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)


def block_of(case: Case, **how: object) -> PairBlock:
    cutoffs = case.cutoffs[np.triu_indices(case.n_species)]
    graph = CutoffGraph(LABELS[: case.n_species], case.cutoffs)
    return PairBlock(oracle.random_radial(cutoffs, **how), graph)


LABELS = ("A", "B")


def slow_rows(block: PairBlock, frame: Frame, cutoffs: FloatArray) -> FloatArray:
    radial = block.radial
    out = np.zeros((frame.n_particles, frame.dim, block.n_columns))
    for i, _, c, vector, r in pairs(frame, cutoffs):
        slopes = radial.slopes_over_r(c, np.array([r]))[0]
        for k in range(radial.per_channel):
            out[i, :, c * radial.per_channel + k] += slopes[k] * vector
    return out


@each_case
def test_features_equal_the_double_loop_over_particles_and_images(case: Case) -> None:
    frame = case.frame()
    block = block_of(case)
    expected = oracle.pooled_pairs(block.radial, frame, case.cutoffs)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(features_of(block, frame), expected, rtol=1e-12, atol=1e-12)


@each_case
def test_rows_equal_the_double_loop_over_particles_and_images(case: Case) -> None:
    frame = case.frame()
    block = block_of(case)
    expected = slow_rows(block, frame, case.cutoffs)
    rows = rows_of(block, frame)
    np.testing.assert_allclose(rows, expected.reshape(rows.shape), atol=1e-13 * np.abs(expected).max())


@each_case
def test_rows_are_the_derivatives_of_the_pooled_features(case: Case) -> None:
    frame = case.frame()
    block = block_of(case)
    rows = rows_of(block, frame).reshape(case.n, case.dim, -1)
    h = 1e-3
    for i in range(0, case.n, 3):
        for axis in range(case.dim):
            f = {m: features_of(block, moved(frame, i, axis, m * h)) for m in (-2, -1, 1, 2)}
            expected = (f[-2] - 8.0 * f[-1] + 8.0 * f[1] - f[2]) / (12.0 * h)
            np.testing.assert_allclose(rows[i, axis], expected, atol=1e-6 * np.abs(rows).max())


@each_case
def test_gradient_and_energy_are_rows_and_features_times_theta(case: Case) -> None:
    frame = case.frame()
    block = block_of(case, taper="shift")
    theta = np.random.default_rng(7).normal(size=block.n_columns)
    rows = rows_of(block, frame)
    gradient = gradient_of(block, frame, theta)
    scale = float((np.abs(rows) @ np.abs(theta)).max())
    assert np.abs(gradient.reshape(-1) - rows @ theta).max() < 1e-13 * scale
    size = float(np.abs(features_of(block, frame) * theta).sum())
    assert abs(energy_of(block, frame, theta) - float(features_of(block, frame) @ theta)) < 1e-12 * size
    energy, both = block.energy_and_gradient(block.prepare(frame), theta)
    assert energy == energy_of(block, frame, theta)
    assert both.tobytes() == gradient.tobytes()


@each_case
def test_rows_of_a_panel_are_those_of_the_whole_frame(case: Case) -> None:
    frame = case.frame()
    block = block_of(case)
    whole = rows_of(block, frame).reshape(case.n, case.dim, -1)
    centres = np.array([case.n - 1, 0], dtype=np.int64)
    expected = whole[centres].reshape(-1, block.n_columns)
    np.testing.assert_allclose(rows_of(block, frame, centres), expected, atol=1e-14 * np.abs(whole).max())
    assert rows_of(block, frame, np.empty(0, dtype=np.int64)).shape == (0, block.n_columns)


def test_many_edges_are_cut_into_pieces_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[5]
    frame = case.frame()
    block = block_of(case)
    whole = rows_of(block, frame)
    monkeypatch.setattr("hamfit.features.pooled._PIECE_VALUES", 1)
    np.testing.assert_array_equal(rows_of(block, frame), whole)


@each_case
def test_forces_between_particles_sum_to_zero(case: Case) -> None:
    frame = case.frame()
    rows = rows_of(block_of(case), frame).reshape(case.n, case.dim, -1)
    assert np.abs(rows.sum(axis=0)).max() < 1e-13 * np.abs(rows).max()


def test_the_order_holds_every_particle_once() -> None:
    frame = CASES[5].frame()
    np.testing.assert_array_equal(np.sort(block_of(CASES[5]).prepare(frame).order), everyone(frame))


@pytest.mark.parametrize("case", CASES[:3], ids=lambda c: c.name)
def test_all_pairs_of_an_open_frame_equal_a_cutoff_beyond_it(case: Case) -> None:
    frame = case.frame()
    n_channels = case.n_species * (case.n_species + 1) // 2
    radial = oracle.random_radial(np.full(n_channels, np.inf), taper="shift")
    labels = LABELS[: case.n_species]
    every = PairBlock(radial, AllPairsGraph(labels))
    far = PairBlock(radial, CutoffGraph(labels, np.full((case.n_species,) * 2, 1e3)))
    scale = np.abs(rows_of(every, frame)).max()
    difference = rows_of(every, frame) - rows_of(far, frame)
    assert np.abs(difference).max() < 1e-13 * scale
    np.testing.assert_allclose(features_of(every, frame), features_of(far, frame), rtol=1e-12)


def test_bonds_alone_are_summed_each_by_its_type() -> None:
    q = np.array([[0.0, 0.0], [1.1, 0.2], [0.3, 1.3]])
    frame = Frame(
        q=q,
        species=np.zeros(3, dtype=np.int64),
        labels=("A",),
        masses=np.ones(3),
        bonds=np.array([[0, 1], [2, 1]]),
        bond_types=np.array([1, 0]),
        bond_labels=("soft", "hard"),
    )
    radial = oracle.random_radial(np.full(2, np.inf), taper="shift")
    block = PairBlock(radial, BondGraph(("soft", "hard")))
    expected = np.zeros(block.n_columns)
    for c, (i, j) in ((1, (0, 1)), (0, (2, 1))):
        r = float(np.linalg.norm(q[i] - q[j]))
        for k in range(radial.per_channel):
            expected[c * radial.per_channel + k] = oracle.value(radial, c, k, r)
    np.testing.assert_allclose(features_of(block, frame), expected, rtol=1e-13, atol=1e-14)


def test_a_frame_without_edges_has_no_energy_and_no_rows() -> None:
    q = np.array([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]])
    frame = Frame(q=q, species=np.zeros(2, dtype=np.int64), labels=("A",), masses=np.ones(2))
    block = block_of(Case("two", 3, 2))
    assert not features_of(block, frame).any()
    assert not rows_of(block, frame).any()
    assert energy_of(block, frame, np.ones(block.n_columns)) == 0.0


@each_case
def test_the_store_gives_the_same_block_bit_for_bit(case: Case) -> None:
    frame = case.frame()
    block = block_of(case)
    attrs, arrays = block.to_store()
    again = PairBlock.from_store(json.loads(json.dumps(attrs)), arrays)
    assert again.graph.channel_labels == block.graph.channel_labels
    assert rows_of(again, frame).tobytes() == rows_of(block, frame).tobytes()
