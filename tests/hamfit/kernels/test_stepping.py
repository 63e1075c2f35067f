"""The compiled step of pairs within a cutoff: windows, counting, and the meaning of stages."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hamfit.integrators import INTEGRATORS, Composition
from hamfit.kernels.bodies import Bodies, Reach
from hamfit.kernels.counting import count_outside
from hamfit.kernels.emitter import LANES
from hamfit.kernels.lanes import LAW_COEFFICIENTS, OUT_ENERGY, OUT_WORDS
from hamfit.kernels.pair_forces import LawRows
from hamfit.kernels.pair_tables import Tables, law
from hamfit.kernels.stepping import Steps, Team, add_windows, advance, observe, share
from hamfit.types import FloatArray

CUTOFF = 1.5


def smooth_law(mapped_low: float = 0.1) -> Tables:
    """(1 - r^2/c^2)^3 as one piece in r^2, exactly."""
    # u = (r^2 - low) / (c^2 - low), and 1 - r^2/c^2 = (1 - u) (c^2 - low) / c^2
    factor = (CUTOFF**2 - mapped_low) / CUTOFF**2
    energy = factor**3 * np.array([1.0, -3.0, 3.0, -1.0, 0.0, 0.0, 0.0, 0.0])
    one = np.array([0])
    return Tables(
        segments=np.array([0, 1]),
        ends=np.array([CUTOFF]),
        maps=np.array([2]),
        low=np.array([mapped_low]),
        scale=np.array([1.0 / (CUTOFF**2 - mapped_low)]),
        pieces=np.array([1]),
        first=one,
        coefficients=energy[None],
        nearest=np.array([np.sqrt(mapped_low)]),
        farthest=np.array([CUTOFF]),
    )


def everybody(n: int, seed: int = 1, speed: float = 0.3) -> tuple[Bodies, Reach, LawRows]:
    """n particles in an open box, each with one run to all that follow; chunks of a few particles."""
    rng = np.random.default_rng(seed)
    width = -(-n // LANES) * LANES + LANES
    rows = {name: np.zeros((3, width)) for name in ("q", "p", "force", "start")}
    rows["q"][:, :n] = rng.uniform(0.0, 1.2 * n ** (1 / 3), (3, n))
    rows["p"][:, :n] = speed * rng.normal(size=(3, n))
    rows["start"][:] = rows["q"]
    bodies = Bodies(**rows, rate=rng.uniform(0.5, 1.5, n), species=np.zeros(n, dtype=np.int64))
    chunks = np.unique([0, n // 4, n // 2, n])
    window, place = np.zeros((len(chunks) - 1, 4), dtype=np.int64), 0
    for k, first in enumerate(chunks[:-1].tolist()):
        some = -(-(n - first) // LANES) * LANES + LANES
        window[k] = first, n - first, place, some
        place += 3 * some
    runs = np.zeros((n, 1, 4), dtype=np.int32)
    for c, first in enumerate(chunks[:-1].tolist()):
        for i in range(first, chunks[c + 1]):
            runs[i, 0] = i + 1, n, i + 1 - first, 0
    ends = np.tile(np.array([0, 1], dtype=np.int32), (n, 1))
    ends[n - 1] = 0
    reach = Reach(runs, ends, np.zeros((1, 3)), chunks, window, np.zeros(place))
    laws = LawRows(
        np.zeros((1, 1), dtype=np.int64),
        np.zeros((1, LAW_COEFFICIENTS)),
        np.zeros(1, dtype=np.int64),
        np.array([CUTOFF**2]),
        smooth_law(),
    )
    return bodies, reach, laws


def forces(q: FloatArray, tables: Tables) -> FloatArray:
    """Of q (3, n), by loops."""
    out = np.zeros_like(q)
    for i in range(q.shape[1]):
        for j in range(i):
            d = q[:, i] - q[:, j]
            r = float(np.sqrt(d @ d))
            if r < CUTOFF:
                pull = -law(tables, 0, r)[1] / r * d
                out[:, i] += pull
                out[:, j] -= pull
    return out


def by_numpy(
    q: FloatArray, p: FloatArray, rate: FloatArray, tables: Tables, method: Composition, dt: float, steps: int
) -> tuple[FloatArray, FloatArray]:
    q, p = q.copy(), p.copy()
    for _ in range(steps):
        for fraction in method.fractions:
            p += 0.5 * fraction * dt * forces(q, tables)
            q += fraction * dt * rate * p
            p += 0.5 * fraction * dt * forces(q, tables)
    return q, p


def run(bodies: Bodies, reach: Reach, laws: LawRows, method: Composition, dt: float, steps: int, limit: float) -> int:
    observe(bodies, reach, laws, None, np.zeros((len(reach.window), OUT_WORDS)))
    stages = method.stages * steps
    team = Team(0, 1, np.zeros(1, dtype=np.int64), np.zeros(1))
    moving = Steps(method.kicks(dt), method.drifts(dt), limit * limit)
    return int(advance(team, bodies, reach, laws, None, moving, 0, stages, False))


@pytest.mark.parametrize("name", ["verlet", "yoshida4", "kahanli6", "kahanli8"])
def test_stages_are_the_verlet_steps_of_the_composition(name: str) -> None:
    method = INTEGRATORS[name]
    assert isinstance(method, Composition)
    bodies, reach, laws = everybody(13)
    q, p = bodies.q[:, :13].copy(), bodies.p[:, :13].copy()
    assert run(bodies, reach, laws, method, 0.02, 4, np.inf) == 4 * method.stages
    q, p = by_numpy(q, p, bodies.rate, laws.tables, method, 0.02, 4)
    np.testing.assert_allclose(bodies.q[:, :13], q, rtol=0, atol=1e-13)
    np.testing.assert_allclose(bodies.p[:, :13], p, rtol=0, atol=1e-13)
    assert not bodies.q[:, 13:].any()


def test_it_returns_before_a_force_whose_runs_no_longer_hold() -> None:
    bodies, reach, laws = everybody(9, speed=1.0)
    fastest = np.sqrt(((bodies.rate * bodies.p[:, :9]) ** 2).sum(axis=0)).max()
    start = bodies.q.copy()
    stage = run(bodies, reach, laws, INTEGRATORS["verlet"], 0.01, 100, 5.5 * 0.01 * fastest)
    assert 4 <= stage <= 7
    # kicked and drifted once more than there were forces
    moved = np.sqrt(((bodies.q - start) ** 2).sum(axis=0)).max()
    assert moved > 5.5 * 0.01 * fastest


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf, 1e300])
def test_it_returns_at_once_when_a_particle_is_lost(strange: float) -> None:
    bodies, reach, laws = everybody(9)
    bodies.p[1, 4] = strange
    assert run(bodies, reach, laws, INTEGRATORS["verlet"], 0.01, 10**9, 1.0) == 0


def test_energies_are_those_of_the_pairs_and_all_chunks_add_up() -> None:
    bodies, reach, laws = everybody(21)
    out = np.zeros((len(reach.window), OUT_WORDS))
    observe(bodies, reach, laws, None, out)
    q, n = bodies.q, 21
    expected = 0.0
    for i in range(n):
        for j in range(i):
            r = float(np.linalg.norm(q[:, i] - q[:, j]))
            # the tangent below sqrt(0.1) is not met here
            assert r > 0.32
            expected += max(1.0 - r * r / CUTOFF**2, 0.0) ** 3
    assert out[:, OUT_ENERGY].sum() == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(bodies.force[:, :n], forces(q[:, :n], laws.tables), atol=1e-13)


def test_windows_that_run_past_the_last_particle_go_on_at_the_first() -> None:
    rng = np.random.default_rng(3)
    n = 20
    bodies, reach, _ = everybody(n)
    window = np.array([[0, 9, 0, 16], [6, 20, 48, 32], [15, 11, 144, 24]])
    sums = rng.normal(size=144 + 72)
    expected = np.zeros((3, n))
    for origin, length, place, width in window.tolist():
        rows = sums[place : place + 3 * width].reshape(3, width)
        for k in range(length):
            expected[:, (origin + k) % n] += rows[:, k]
    for cuts in ([0, n], [0, 7, n], [0, 1, 2, 15, n]):
        bodies.force[:] = np.nan
        for first, last in itertools.pairwise(cuts):
            add_windows(first, last, bodies, reach._replace(window=window, forces=sums))
        np.testing.assert_allclose(bodies.force[:, :n], expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 64, 1001])
@pytest.mark.parametrize("n_threads", [1, 2, 3, 7, 12])
def test_shares_cover_all_particles_once(n: int, n_threads: int) -> None:
    slices = [share(t, n_threads, n) for t in range(n_threads)]
    assert [i for first, last in slices for i in range(first, last)] == list(range(n))


def test_pairs_are_counted_with_the_ends_of_the_range_inside() -> None:
    bodies, reach, laws = everybody(15)
    bodies.q[:, 3] = bodies.q[:, 8]
    q = bodies.q[:, :15]
    r = sorted(float(np.linalg.norm(q[:, i] - q[:, j])) for i in range(15) for j in range(i))
    exact = sorted(
        float(np.sqrt(sum((q[a, i] - q[a, j]) ** 2 for a in range(3)))) for i in range(15) for j in range(i)
    )
    near = [x for x in exact if x < CUTOFF]
    assert len(near) == sum(x < CUTOFF for x in r)
    count = np.zeros(3, dtype=np.int64)
    count_outside(bodies, reach, laws.channels, laws.cutoff2, np.array([[near[2], near[-3]]]), count)
    assert count.tolist() == [4, len(near), 1]
    # where no pair was seen all are outside
    count[:] = 0
    count_outside(bodies, reach, laws.channels, laws.cutoff2, np.array([[np.nan, np.nan]]), count)
    assert count.tolist() == [len(near), len(near), 1]
