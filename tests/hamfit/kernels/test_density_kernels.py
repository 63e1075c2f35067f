"""Kernels of one-density models against NumPy and plain loops."""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np
import pytest

from hamfit.features.pieces import Function, compile_functions, values_and_slopes
from hamfit.kernels.bodies import Bodies, Reach
from hamfit.kernels.density import (
    BATCH,
    PAIR_NUMBERS,
    Densities,
    Pairs,
    count_candidates,
    embed,
    push_kept,
    scratch_of,
    sum_chunk,
)
from hamfit.kernels.emitter import LANES
from hamfit.kernels.lanes import OUT_ENERGY, OUT_VIRIAL, OUT_WORDS, VIRIAL_AXES
from hamfit.kernels.piece_lanes import (
    FUNCTION_CORE2,
    FUNCTION_CUTOFF2,
    FUNCTION_FIRST,
    FUNCTION_LAST,
    FUNCTION_SCALE,
    FUNCTION_SHIFT,
    FUNCTION_WORDS,
    evaluate_lanes,
    keep_near,
    measure_lanes,
    slope_lanes,
)
from hamfit.types import FloatArray, IntArray


@nb.njit
def measure(
    q: FloatArray, runs: IntArray, shifts: FloatArray, centre: FloatArray, found: FloatArray, places: IntArray
) -> int:
    return measure_lanes(
        (q.ctypes.data, q.shape[1]),
        runs.ctypes.data,
        runs.shape[0],
        shifts.ctypes.data,
        (centre[0], centre[1], centre[2]),
        (found.ctypes.data, found.shape[1]),
        places.ctypes.data,
    )


@nb.njit
def keep(
    found: FloatArray,
    places: IntArray,
    filled: int,
    limit2: float,
    hits: IntArray,
    squares: FloatArray,
    vectors: FloatArray,
    kept: IntArray,
) -> int:
    return keep_near(
        (found.ctypes.data, found.shape[1]),
        places.ctypes.data,
        filled,
        limit2,
        hits.ctypes.data,
        squares.ctypes.data,
        (vectors.ctypes.data, vectors.shape[1]),
        kept.ctypes.data,
    )


@nb.njit
def evaluate(
    row: FloatArray, table: FloatArray, r2: FloatArray, n: int, values: FloatArray, slopes: FloatArray, valued: bool
) -> None:
    addresses = row.ctypes.data, table.ctypes.data, r2.ctypes.data
    if valued:
        evaluate_lanes(*addresses, n, values.ctypes.data, slopes.ctypes.data)
    else:
        slope_lanes(*addresses, n, values.ctypes.data, slopes.ctypes.data)


def some_runs(rng: np.random.Generator, n: int, count: int) -> IntArray:
    runs = np.zeros((count, 4), dtype=np.int32)
    for k in range(count):
        runs[k, 0] = rng.integers(0, n)
        runs[k, 1] = rng.integers(runs[k, 0], n + 1)
        runs[k, 2] = rng.integers(0, 50)
        runs[k, 3] = rng.integers(0, 3)
    return runs


@pytest.mark.parametrize("n_runs", [0, 1, 2, 7])
def test_candidates_and_those_kept_are_those_of_a_loop(n_runs: int) -> None:
    rng = np.random.default_rng(n_runs)
    n = 61
    q = np.zeros((3, -(-n // LANES) * LANES + LANES))
    q[:, :n] = rng.normal(size=(3, n))
    shifts, centre = rng.normal(size=(3, 3)), rng.normal(size=3)
    runs = some_runs(rng, n, n_runs)
    room = n_runs * (n + LANES) + LANES
    found, places = np.full((4, room), np.nan), np.zeros(room, dtype=np.int32)
    filled = measure(q, runs, shifts, centre, found, places)
    assert filled == sum(-(-(end - begin) // LANES) * LANES for begin, end, *_ in runs.tolist())
    expected = []
    for begin, end, target, shift in runs.tolist():
        for j in range(begin, end):
            d = (centre - shifts[shift]) - q[:, j]
            expected.append((float(d @ d), *d, target + j - begin))
    inside = np.isfinite(found[0, :filled])
    assert int(inside.sum()) == len(expected)
    assert np.all(found[0, :filled][~inside] == np.inf)
    if expected:
        np.testing.assert_allclose(found[:, :filled][:, inside].T, np.array(expected)[:, :4], rtol=1e-14)
    for limit2 in (0.0, 1.7, np.inf):
        near = [row for row in expected if row[0] < limit2]
        hits, kept = np.zeros(room + 1, dtype=np.int32), np.full(room, -1, dtype=np.int32)
        squares, vectors = np.zeros(room), np.zeros((3, room))
        count = keep(found, places, filled, limit2, hits, squares, vectors, kept)
        assert count == len(near)
        if near:
            table = np.array(near)
            np.testing.assert_allclose(squares[:count], table[:, 0], rtol=1e-14)
            np.testing.assert_allclose(vectors[:, :count].T, table[:, 1:4], rtol=1e-14, atol=1e-15)
            np.testing.assert_array_equal(kept[:count], table[:, 4])
        assert np.all(kept[count:] == -1)


def bump(r: FloatArray) -> FloatArray:
    """Slope of (1 - (r/2)^2)^2 e^-r."""
    v = 1.0 - r**2 / 4.0
    return np.asarray((-v * r - v**2) * np.exp(-r))


def well(r: FloatArray) -> FloatArray:
    return np.asarray(2.0 * r - 3.0 / r**3)


CORES, CUTOFFS = (0.5, 0.5, 0.5, 0.5), (2.0, 2.0, 1.6, 0.0)


def functions() -> tuple[Densities, list[Function]]:
    """Densities at both ends, a pair function with a shorter cutoff, nothing; one species and its own with another."""
    made = [
        Function(bump, (0.25, 0.5, 2.0), -1, 0.0, "r2"),
        Function(lambda r: 2.0 * bump(r) + 0.1 * (r - 2.0), (0.25, 0.5, 2.0), -1, 0.0, "r2"),
        Function(well, (0.25, 0.5, 1.6), -1, 0.3, "r2"),
        Function(np.zeros_like, (0.25, 0.5, 1.0), -1, 0.0, "r2"),
    ]
    tables = compile_functions(made)
    last = tables.segments[1:] - 1
    rows = np.zeros((4, FUNCTION_WORDS))
    rows[:, FUNCTION_CUTOFF2] = np.array(CUTOFFS) ** 2
    rows[:, FUNCTION_CORE2] = np.array(CORES) ** 2
    rows[:, FUNCTION_SHIFT] = -tables.low[last] * tables.scale[last]
    rows[:, FUNCTION_SCALE] = tables.scale[last]
    rows[:, FUNCTION_LAST] = tables.pieces[last] - 1
    rows[:, FUNCTION_FIRST] = tables.first[last]
    which = np.array([[[0, 0, 2], [0, 1, 2]], [[1, 0, 2], [1, 1, 3]]])
    curves = [Function(lambda y, k=k: np.cos(k * y), (0.5, 3.0, 40.0), 1, 0.2 * k, "r") for k in (1.0, 0.3)]
    return Densities(which, rows, tables, compile_functions(curves), np.array([2.0, 3.0])), made


@pytest.mark.parametrize("valued", [True, False])
@pytest.mark.parametrize("n", [1, 8, 13, 200])
def test_functions_in_lanes_are_those_of_the_tables(n: int, valued: bool) -> None:
    d, _ = functions()
    rng = np.random.default_rng(n)
    width = -(-n // LANES) * LANES
    r = rng.uniform(0.3, 2.3, width)
    r[0] = 2.0 * (1.0 - 1e-16)
    for c in range(4):
        values, slopes = np.full(width, 7.0), np.full(width, 7.0)
        evaluate(d.rows[c], d.functions.coefficients, r * r, n, values, slopes, valued)
        value, slope = values_and_slopes(d.functions, c, r)
        follows = (r * r < d.rows[c, FUNCTION_CUTOFF2]) & (r * r >= d.rows[c, FUNCTION_CORE2])
        np.testing.assert_allclose(slopes, np.where(follows, -slope / r, 0.0), rtol=0, atol=1e-13)
        if valued:
            np.testing.assert_allclose(values, np.where(follows, value, 0.0), rtol=0, atol=1e-13)
        else:
            assert np.all(values == 7.0)


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf, 1e300, 0.0])
def test_distances_that_are_none_give_nothing(strange: float) -> None:
    d, _ = functions()
    values, slopes = np.ones(8), np.ones(8)
    evaluate(d.rows[0], d.functions.coefficients, np.full(8, strange), 8, values, slopes, True)
    assert not values.any()
    assert not slopes.any()


class Scene(NamedTuple):
    bodies: Bodies
    reach: Reach
    pairs: Pairs
    densities: Densities


def scene(n: int, *, seed: int = 0, chunks: int = 1) -> Scene:
    """All particles of an open drop meet: two runs for each centre, what follows it of either species."""
    rng = np.random.default_rng(seed)
    first_b = 2 * n // 3
    width = -(-n // LANES) * LANES + LANES
    q = np.zeros((3, width))
    grid = np.stack(np.meshgrid(*[np.arange(5.0)] * 3), axis=-1).reshape(-1, 3)[:n]
    q[:, :n] = (0.8 * grid + rng.uniform(-0.15, 0.15, (n, 3))).T
    # one pair nearer than the core
    q[:, 1] = q[:, 0] + np.array([0.3, 0.2, -0.1])
    species = (np.arange(n) >= first_b).astype(np.int64)
    bodies = Bodies(q, np.zeros((3, width)), np.zeros((3, width)), q.copy(), np.ones(n), species)
    runs, ends = np.zeros((n, 2, 4), dtype=np.int32), np.zeros((n, 3), dtype=np.int32)
    cuts = np.array([c * n // chunks for c in range(chunks + 1)])
    origin = cuts[np.searchsorted(cuts, np.arange(n), side="right") - 1]
    for i in range(n):
        for b, (low, high) in enumerate(((0, first_b), (first_b, n))):
            ends[i, b + 1] = ends[i, b]
            begin = max(low, i + 1)
            if begin < high:
                runs[i, ends[i, b]] = begin, high, begin - origin[i], 0
                ends[i, b + 1] += 1
    place, windows = 0, np.zeros((chunks, 4), dtype=np.int64)
    for k in range(chunks):
        length = n - int(cuts[k])
        windows[k] = cuts[k], length, place, length + LANES
        place += 3 * (length + LANES)
    reach = Reach(runs, ends, np.zeros((1, 3)), cuts, windows, np.zeros(place))
    candidates, room = count_candidates(reach)
    begin = np.concatenate([[0], np.cumsum(candidates + LANES)])
    size = int(begin[-1])
    pairs = Pairs(
        np.full((PAIR_NUMBERS, size), np.nan),
        np.zeros(size, dtype=np.int32),
        begin,
        np.zeros((n, 2, 2), dtype=np.int64),
        max(room, LANES),
        np.zeros(n),
        np.zeros(n),
    )
    return Scene(bodies, reach, pairs, functions()[0])


def plain(s: Scene) -> tuple[FloatArray, FloatArray, float, FloatArray]:
    """F, forces, pair energy and virial, one pair at a time, from the tables."""
    n, d = s.bodies.species.size, s.densities
    species = s.bodies.species

    def at(c: int, r: float) -> tuple[float, float]:
        if r >= CUTOFFS[c]:
            return 0.0, 0.0
        value, slope = values_and_slopes(d.functions, c, np.array([r]))
        return float(value[0]), float(slope[0])

    density = d.empty[species].copy()
    for i in range(n):
        for j in range(n):
            if i != j:
                r = float(np.linalg.norm(s.bodies.q[:, i] - s.bodies.q[:, j]))
                density[i] += at(d.which[species[i], species[j], 0], r)[0]
    curves = [values_and_slopes(d.embeddings, a, y[None]) for a, y in zip(species, density, strict=True)]
    steep = np.array([slope[0] for _, slope in curves])
    forces, virial, energy = np.zeros((3, n)), np.zeros((3, 3)), 0.0
    for i in range(n):
        for j in range(n):
            if i == j:
                continue
            v = s.bodies.q[:, i] - s.bodies.q[:, j]
            r = float(np.linalg.norm(v))
            own, other, pair = d.which[species[i], species[j]]
            phi, phi_slope = at(pair, r)
            push = -(steep[i] * at(own, r)[1] + steep[j] * at(other, r)[1] + phi_slope) * v / r
            forces[:, i] += push
            energy += 0.5 * phi
            virial += 0.5 * np.outer(v, push)
    return np.array([value[0] for value, _ in curves]), forces, energy, virial


@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize("n", [2, 17, 97])
def test_forces_energies_and_virial_are_those_of_a_loop(n: int, chunks: int) -> None:
    assert n < 3 * BATCH + 2
    s = scene(n, chunks=min(chunks, n))
    w, out = scratch_of(s.pairs), np.zeros(OUT_WORDS)
    n_chunks = s.reach.chunks.size - 1
    for k in range(n_chunks):
        sum_chunk(k, s.bodies, s.reach, s.densities, s.pairs, w)
    # by any slices
    for first, last in ((0, n // 2), (n // 2, n)):
        embed(first, last, s.bodies, s.reach, s.densities, s.pairs)
    forces = np.zeros((3, n))
    for k in range(n_chunks):
        push_kept(k, s.bodies, s.reach, s.densities, s.pairs, True, out)
        origin, length, place, width = s.reach.window[k]
        forces[:, origin:] += s.reach.forces[place : place + 3 * width].reshape(3, width)[:, :length]
    embedded, expected, energy, virial = plain(s)
    np.testing.assert_allclose(s.pairs.energy, embedded, rtol=0, atol=1e-12)
    np.testing.assert_allclose(forces, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    assert out[OUT_ENERGY] == pytest.approx(energy, rel=1e-12)
    for word, (a, b) in enumerate(VIRIAL_AXES, OUT_VIRIAL):
        assert out[word] == pytest.approx(virial[a, b], rel=0, abs=1e-12 * np.abs(virial).max())
    quiet = np.zeros(OUT_WORDS)
    push_kept(0, s.bodies, s.reach, s.densities, s.pairs, False, quiet)
    assert not quiet.any()


def test_the_room_for_candidates_is_what_the_lanes_fill() -> None:
    s = scene(97, chunks=4)
    candidates, room = count_candidates(s.reach)
    assert candidates.sum() == 97 * 96 // 2
    found, places = np.zeros((4, room)), np.zeros(room // LANES, dtype=np.int32)
    most = 0
    for i in range(97):
        runs = np.ascontiguousarray(s.reach.runs[i, : s.reach.ends[i, -1]])
        most = max(most, measure(s.bodies.q, runs, s.reach.shifts, s.bodies.q[:, i].copy(), found, places))
    assert most == room
