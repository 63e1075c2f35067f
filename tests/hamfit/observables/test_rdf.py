from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hamfit.errors import DataError
from hamfit.frames import Frame
from hamfit.observables.rdf import default_r_max, pair_distribution, shell_volumes
from hamfit.systems.geometries import fcc
from hamfit.types import FloatArray
from worlds import CASES, Case, images, pair_channel


def plain_distribution(frame: Frame, r_max: float, n_bins: int) -> FloatArray:
    """g(r) by loops over all particles, all images and all bins."""
    n_species = len(frame.labels)
    counts = np.zeros((n_species * (n_species + 1) // 2, n_bins))
    for i in range(frame.n_particles):
        for j in range(frame.n_particles):
            if i == j:
                continue
            for shift in images(frame.box, True, 3):
                r = float(np.linalg.norm(frame.q[i] - frame.q[j] - shift))
                if r < r_max:
                    channel = pair_channel(int(frame.species[i]), int(frame.species[j]), n_species)
                    counts[channel, int(r / r_max * n_bins)] += 1.0
    numbers = np.bincount(frame.species, minlength=n_species)
    volume = abs(np.linalg.det(np.asarray(frame.box)))
    out = np.zeros_like(counts)
    for a in range(n_species):
        for b in range(a, n_species):
            ordered = numbers[a] * (numbers[a] - 1) if a == b else 2 * numbers[a] * numbers[b]
            for k in range(n_bins):
                inner, outer = r_max * k / n_bins, r_max * (k + 1) / n_bins
                shell = {1: 2.0, 2: np.pi, 3: 4 / 3 * np.pi}[frame.dim] * (outer**frame.dim - inner**frame.dim)
                channel = pair_channel(a, b, n_species)
                out[channel, k] = counts[channel, k] * volume / (ordered * shell)
    return out


def gas(n: int, box: FloatArray, rng: np.random.Generator, n_species: int = 1) -> Frame:
    return Frame(
        q=rng.uniform(size=(n, len(box))) @ box,
        species=np.arange(n, dtype=np.int64) % n_species,
        labels=("A", "B")[:n_species],
        masses=np.ones(n),
        box=box,
        periodic=(True,) * len(box),
    )


@pytest.mark.parametrize("case", [case for case in CASES if case.periodic], ids=lambda case: case.name)
@pytest.mark.parametrize("reach", [0.45, 1.3], ids=["inside-the-box", "beyond-the-box"])
def test_pairs_are_counted_as_by_plain_loops(case: Case, reach: float) -> None:
    frame = case.frame()
    r_max = reach * float(np.asarray(frame.box)[0, 0])
    got = pair_distribution(frame, r_max, 13)
    assert np.allclose(got, plain_distribution(frame, r_max, 13), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "box",
    [
        np.array([[7.0]]),
        np.array([[7.0, 0.0], [2.0, 6.0]]),
        np.diag([7.0, 6.0, 8.0]),
        np.array([[7.0, 0.0, 0.0], [3.0, 6.0, 0.0], [1.0, -2.0, 8.0]]),
    ],
    ids=["line", "skewed-plane", "box", "triclinic"],
)
def test_an_ideal_gas_is_flat_within_its_errors(box: FloatArray) -> None:
    rng = np.random.default_rng(11)
    # few particles, so that N (N - 1) and N^2 differ by far more than the errors
    frames = [gas(30, box, rng, 2) for _ in range(400)]
    r_max = default_r_max(frames[:1])
    values = np.array([pair_distribution(frame, r_max, 8) for frame in frames])
    z = (values.mean(axis=0) - 1.0) / (values.std(axis=0, ddof=1) / np.sqrt(len(frames)))
    assert np.abs(z).max() < 3.5
    assert np.sqrt(np.mean(z**2)) < 1.5


def test_a_perfect_crystal_has_its_coordination_numbers_and_nothing_between() -> None:
    sites, edges = fcc((3, 3, 3), 4.0)
    n = len(sites)
    frame = Frame(sites, np.zeros(n, dtype=np.int64), ("A",), np.ones(n), np.diag(edges), (True,) * 3)
    r_max, n_bins = 1.3, 130
    g = pair_distribution(frame, r_max, n_bins)[0]
    # density 4 means cells of edge 1: shells of 12, 6, 24 neighbours at sqrt(1/2), 1, sqrt(3/2)
    neighbours = g * shell_volumes(np.linspace(0.0, r_max, n_bins + 1), 3) * (n - 1) / 27.0
    expected = np.zeros(n_bins)
    for number, r in ((12, np.sqrt(0.5)), (24, np.sqrt(1.5))):
        expected[int(r / r_max * n_bins)] = number
    # the second shell lies at a bin's edge, on one side of it or the other
    second = neighbours[99] + neighbours[100]
    neighbours[99] = neighbours[100] = 0.0
    assert second == pytest.approx(6.0, rel=1e-12)
    assert np.allclose(neighbours, expected, rtol=1e-12, atol=0)


def test_positions_outside_the_box_and_another_order_change_nothing() -> None:
    rng = np.random.default_rng(3)
    box = np.array([[5.0, 0.0, 0.0], [1.0, 4.0, 0.0], [0.5, 0.7, 6.0]])
    frame = gas(17, box, rng)
    moved = replace(frame, q=frame.q[::-1] + rng.integers(-3, 4, size=(17, 3)) @ box)
    assert np.allclose(pair_distribution(frame, 1.9, 20), pair_distribution(moved, 1.9, 20), rtol=1e-12)


def test_a_pair_of_species_without_particles_is_nan() -> None:
    frame = replace(gas(9, 4.0 * np.eye(3), np.random.default_rng(1)), labels=("A", "B"))
    g = pair_distribution(frame, 1.5, 4)
    assert np.isfinite(g[0]).all()
    assert np.isnan(g[1:]).all()


def test_an_open_frame_has_no_distribution() -> None:
    frame = replace(gas(9, 4.0 * np.eye(3), np.random.default_rng(1)), periodic=(True, True, False))
    with pytest.raises(DataError, match="open in some direction, so its density is unknown"):
        pair_distribution(frame, 1.5, 4)
