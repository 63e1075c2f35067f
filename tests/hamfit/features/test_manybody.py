from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Protocol

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asking import energy_of, features_of, gradient_of, rows_of
from hamfit.errors import FeatureError
from hamfit.features import manybody_rows
from hamfit.features.manybody import ManyBodyBlock
from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph
from hamfit.types import FloatArray

LABELS = ("A", "B")
CUTOFFS = np.array([[2.3, 1.9], [1.9, 1.7]])


class Shape(Protocol):
    """What a frame is made of."""

    dim: int
    n: int
    n_species: int
    periodic: bool


def small_frame(case: Shape, labels: tuple[str, ...], seed: int) -> Frame:
    """Particles as a case has them, spread evenly."""
    rng = np.random.default_rng(seed)
    box = 2.1 * np.eye(case.dim) + np.triu(rng.uniform(-0.3, 0.3, (case.dim, case.dim)), 1)
    spread = box if case.periodic else np.eye(case.dim) * 1.2 * case.n ** (1 / case.dim)
    return Frame(
        q=rng.uniform(0.0, 1.0, (case.n, case.dim)) @ spread,
        species=np.arange(case.n, dtype=np.int64) % case.n_species,
        labels=labels[: case.n_species],
        masses=np.ones(case.n),
        box=box if case.periodic else None,
        periodic=(case.periodic,) * case.dim,
    )


@dataclass(frozen=True)
class Case:
    """A small system; the boxes are smaller than twice the cutoff, so particles meet their own images."""

    name: str
    dim: int
    n: int
    n_species: int
    periodic: bool
    l_max: int = 3
    sampler: str = "elm"
    direct_links: bool = True

    def frame(self, seed: int = 11) -> Frame:
        return small_frame(self, LABELS, seed)

    def block(self, frame: Frame) -> ManyBodyBlock:
        graph = CutoffGraph(LABELS[: self.n_species], CUTOFFS[: self.n_species, : self.n_species].copy())
        return ManyBodyBlock.sample(
            [frame],
            graph,
            n_features=13,
            n_radial=5,
            n_bumps=4,
            l_max=self.l_max,
            sampler=self.sampler,
            direct_links=self.direct_links,
            rng=np.random.default_rng(3),
        )


CASES = [
    Case("open-3d", 3, 11, 1, False),
    Case("periodic-3d-two-species", 3, 7, 2, True),
    Case("periodic-3d-swim", 3, 7, 2, True, sampler="swim"),
    Case("periodic-2d", 2, 5, 2, True, l_max=2),
    Case("periodic-1d", 1, 3, 1, True, l_max=1, direct_links=False),
    Case("density-only", 3, 7, 2, True, l_max=0),
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)


def slow_features(block: ManyBodyBlock, frame: Frame) -> FloatArray:
    """The definition, word for word: full tensors, all images, no shared code with the block."""
    layer = block.layer
    radial = layer.radial
    tanh_parts: list[list[FloatArray]] = [[] for _ in range(layer.n_species)]
    direct_parts: list[list[FloatArray]] = [[] for _ in range(layer.n_species)]
    shifts = [np.zeros(frame.dim)]
    if frame.box is not None:
        shifts = [np.array(c) @ frame.box for c in product(range(-3, 4), repeat=frame.dim)]
    for i in range(frame.n_particles):
        si = frame.species[i]
        tensors: list[FloatArray] = [
            np.zeros((layer.mixing.shape[2],) + (frame.dim,) * l) for l in range(layer.l_max + 1)
        ]
        for j in range(frame.n_particles):
            sj = frame.species[j]
            for shift in shifts:
                v = frame.q[i] - frame.q[j] - shift
                r = float(np.sqrt(v @ v))
                if r == 0.0 or r >= CUTOFFS[si, sj]:
                    continue
                centres = np.linspace(np.log(radial.lower[si, sj]), np.log(CUTOFFS[si, sj]), radial.n_bumps)
                spacing = centres[1] - centres[0]
                bumps = np.exp(-0.5 * ((np.log(r) - centres) / (radial.width * spacing)) ** 2)
                bumps = bumps * (1 - (r / CUTOFFS[si, sj]) ** 2) ** 2
                g = bumps @ layer.mixing[si, sj * radial.n_bumps : (sj + 1) * radial.n_bumps]
                u = v / r
                tensors[0] += g
                if layer.l_max >= 1:
                    tensors[1] += np.einsum("c,x->cx", g, u)
                if layer.l_max >= 2:
                    tensors[2] += np.einsum("c,x,y->cxy", g, u, u)
                if layer.l_max >= 3:
                    tensors[3] += np.einsum("c,x,y,z->cxyz", g, u, u, u)
        values = [tensors[0]]
        values += [(t**2).reshape(len(t), -1).sum(axis=1) for t in tensors[1:]]
        standard = (np.concatenate(values) - layer.mean[si]) / layer.deviation[si]
        own = slice(layer.first[si], layer.first[si + 1])
        tanh_parts[si].append(np.tanh(standard @ layer.weights[:, own] + layer.bias[own]))
        direct_parts[si].append(standard)
    parts = [np.vstack(p).sum(axis=0) for p in tanh_parts]
    if layer.direct_links:
        parts += [np.vstack(p).sum(axis=0) for p in direct_parts]
    return np.concatenate(parts)


def moved(frame: Frame, i: int, axis: int, step: float) -> Frame:
    q = frame.q.copy()
    q[i, axis] += step
    return replace(frame, q=q)


def everyone(frame: Frame) -> np.ndarray:
    return np.arange(frame.n_particles, dtype=np.int64)


@each_case
def test_features_equal_the_full_tensor_definition(case: Case) -> None:
    frame = case.frame()
    block = case.block(frame)
    np.testing.assert_allclose(features_of(block, frame), slow_features(block, frame), rtol=1e-12, atol=1e-12)


@each_case
def test_rows_are_the_derivatives_of_the_features(case: Case) -> None:
    frame = case.frame()
    block = case.block(frame)
    rows = rows_of(block, frame).reshape(frame.n_particles, frame.dim, -1)
    h = 1e-5
    scale = np.abs(rows).max() + 1e-3
    for i in range(0, frame.n_particles, 2):
        for axis in range(frame.dim):
            up, down = (features_of(block, moved(frame, i, axis, k * h)) for k in (1, -1))
            np.testing.assert_allclose(rows[i, axis], (up - down) / (2 * h), atol=1e-6 * scale)


@each_case
def test_gradient_and_energy_are_rows_and_features_times_theta(case: Case) -> None:
    frame = case.frame()
    block = case.block(frame)
    theta = np.random.default_rng(5).normal(size=block.n_columns)
    gradient = gradient_of(block, frame, theta)
    expected = rows_of(block, frame) @ theta
    np.testing.assert_allclose(gradient.ravel(), expected, atol=1e-12 * np.abs(gradient).max() + 1e-13)
    assert energy_of(block, frame, theta) == pytest.approx(float(slow_features(block, frame) @ theta), rel=1e-11)


def test_gradient_is_the_derivative_of_the_energy() -> None:
    case = CASES[1]
    frame = case.frame()
    block = case.block(frame)
    theta = np.random.default_rng(5).normal(size=block.n_columns)
    gradient = gradient_of(block, frame, theta)
    h = 1e-4
    for i in range(frame.n_particles):
        for axis in range(3):
            up, down = (energy_of(block, moved(frame, i, axis, s * h), theta) for s in (1, -1))
            slope = (up - down) / (2 * h)
            assert slope == pytest.approx(gradient[i, axis], abs=1e-5 * np.abs(gradient).max())


@each_case
def test_rows_of_a_panel_need_only_the_panel(case: Case) -> None:
    frame = case.frame()
    block = case.block(frame)
    rows = rows_of(block, frame).reshape(frame.n_particles, frame.dim, -1)
    centres = np.array([2, 0], dtype=np.int64)
    expected = rows[centres].reshape(-1, block.n_columns)
    panel = rows_of(block, frame, centres)
    np.testing.assert_allclose(panel, expected, rtol=1e-12, atol=1e-12 * np.abs(rows).max())
    assert rows_of(block, frame, np.empty(0, dtype=np.int64)).shape == (0, block.n_columns)


def test_rows_do_not_depend_on_the_memory_they_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[1]
    frame = case.frame()
    block = case.block(frame)
    whole = rows_of(block, frame)
    monkeypatch.setattr(manybody_rows, "CHUNK_BYTES", 1)
    monkeypatch.setattr(manybody_rows, "PANEL_EDGES", 3)
    monkeypatch.setattr(manybody_rows, "PANEL_FEATURES", 2)
    np.testing.assert_allclose(rows_of(block, frame), whole, rtol=1e-11, atol=1e-12)


def test_same_seed_gives_the_same_bits() -> None:
    case = CASES[1]
    frame = case.frame()
    first, second = (rows_of(case.block(frame), frame) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_a_lone_particle_among_its_images_feels_no_force() -> None:
    frame = Case("bravais", 3, 1, 1, True).frame()
    block = Case("bravais", 3, 1, 1, True).block(Case("other", 3, 5, 1, True).frame())
    rows = rows_of(block, frame)
    assert np.abs(features_of(block, frame)).max() > 0.1
    assert np.abs(rows).max() < 1e-13
    assert np.abs(gradient_of(block, frame, np.ones(block.n_columns))).max() < 1e-12


def test_forces_sum_to_zero() -> None:
    case = CASES[1]
    frame = case.frame()
    block = case.block(frame)
    rows = rows_of(block, frame).reshape(frame.n_particles, 3, -1)
    assert np.abs(rows.sum(axis=0)).max() < 1e-12 * np.abs(rows).max()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), case=st.sampled_from(CASES))
def test_energy_is_invariant_and_forces_equivariant(seed: int, case: Case) -> None:
    rng = np.random.default_rng(seed)
    frame = case.frame(seed)
    block = case.block(case.frame())
    theta = rng.normal(size=block.n_columns)
    energy, gradient = energy_of(block, frame, theta), gradient_of(block, frame, theta)
    rotation, _ = np.linalg.qr(rng.normal(size=(case.dim, case.dim)))
    order = rng.permutation(case.n)
    box = None if frame.box is None else frame.box @ rotation
    other = replace(
        frame,
        q=(frame.q @ rotation + rng.normal(size=case.dim))[order],
        species=frame.species[order],
        box=box,
    )
    size = np.abs(features_of(block, frame) * theta).sum()
    assert abs(energy_of(block, other, theta) - energy) < 1e-12 * size
    # cancellation between columns sets the scale on which rounding is seen
    rows = rows_of(block, frame)
    scale = (np.abs(rows) @ np.abs(theta)).max() + 1e-300
    assert np.abs(gradient_of(block, other, theta) - (gradient @ rotation)[order]).max() < 1e-12 * scale


@each_case
def test_the_store_gives_the_same_block_bit_for_bit(case: Case) -> None:
    frame = case.frame()
    block = case.block(frame)
    again = ManyBodyBlock.from_store(*block.to_store())
    assert again.n_columns == block.n_columns
    assert rows_of(again, frame).tobytes() == rows_of(block, frame).tobytes()
    assert features_of(again, frame).tobytes() == features_of(block, frame).tobytes()


def test_features_vanish_smoothly_at_the_cutoff() -> None:
    def pair(distance: float) -> Frame:
        q = np.array([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]])
        return Frame(q=q, species=np.zeros(2, dtype=np.int64), labels=("A",), masses=np.ones(2))

    block = Case("open", 3, 11, 1, False).block(Case("open", 3, 11, 1, False).frame())
    apart = features_of(block, pair(2.5))
    assert np.abs(features_of(block, pair(2.3 - 1e-6)) - apart).max() < 1e-9
    assert np.abs(rows_of(block, pair(2.3 - 1e-6), np.arange(2, dtype=np.int64))).max() < 1e-4
    assert not rows_of(block, pair(2.5), np.arange(2, dtype=np.int64)).any()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"l_max": 4}, "l_max is 4"),
        ({"n_features": 0}, "n_features is 0"),
        ({"n_bumps": 1}, "n_bumps is 1"),
        ({"sampler": "sobol"}, "'sobol' is unknown"),
    ],
)
def test_an_option_out_of_range_is_refused(options: dict[str, object], reason: str) -> None:
    frame = CASES[0].frame()
    graph = CutoffGraph(("A",), np.array([[2.3]]))
    arguments: dict[str, Any] = {"n_features": 5, "rng": np.random.default_rng(1)} | options
    with pytest.raises(FeatureError, match=reason):
        ManyBodyBlock.sample([frame], graph, **arguments)


def test_no_frames_and_no_neighbours_are_refused() -> None:
    frame = CASES[0].frame()
    with pytest.raises(FeatureError, match="no frames"):
        ManyBodyBlock.sample([], CutoffGraph(("A",), np.array([[2.3]])), n_features=5, rng=np.random.default_rng(1))
    with pytest.raises(FeatureError, match="no particle has a neighbour"):
        ManyBodyBlock.sample(
            [frame], CutoffGraph(("A",), np.array([[1e-2]])), n_features=5, rng=np.random.default_rng(1)
        )


def test_sampling_keeps_of_each_environment_its_invariants_alone() -> None:
    """Memory that grows with the environments looked at is that of a few copies of their invariants, not of edges."""
    n_radial, l_max = 5, 2

    def peak(n: int) -> int:
        rng = np.random.default_rng(1)
        box = (n / 0.85) ** (1 / 3) * np.eye(3)
        q = rng.uniform(0.0, 1.0, (n, 3)) @ box
        frame = Frame(q, np.zeros(n, dtype=np.int64), LABELS[:1], np.ones(n), box=box, periodic=(True,) * 3)
        graph = CutoffGraph(LABELS[:1], CUTOFFS[:1, :1].copy())
        tracemalloc.start()
        ManyBodyBlock.sample([frame], graph, n_features=8, n_radial=n_radial, l_max=l_max, rng=rng)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    peak(1000)
    few, many = 4000, 16000
    # some 45 edges an environment, each with values of 10 bumps: kept at once they would be 8 kB
    assert (peak(many) - peak(few)) / (many - few) < 8 * 8 * n_radial * (l_max + 1)
