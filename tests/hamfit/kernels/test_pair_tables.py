"""Piecewise laws against NumPy's own polynomials, and their pairs against loops."""

from __future__ import annotations

import numpy as np
import pytest

from hamfit.kernels.cpu import MAP_INVERSE, MAP_R, MAP_SQUARE, SPLINE_DEGREE
from hamfit.kernels.lanes import OUT_ENERGY, OUT_FORCE, OUT_VIRIAL, OUT_WORDS, VIRIAL_AXES
from hamfit.kernels.pair_tables import Tables, law, push_table

#: Channel by channel: map, where its segments begin and end, pieces of each.
CHANNELS = (
    (MAP_R, (0.4, 0.9, 1.7), (3, 5)),
    (MAP_INVERSE, (0.3, 0.8, 1.5, 2.1), (2, 7, 4)),
    (MAP_SQUARE, (0.5, 1.9), (6,)),
)


def mapped(code: int, r: float) -> float:
    return {MAP_R: r, MAP_INVERSE: 1.0 / r, MAP_SQUARE: r * r}[code]


def some_tables(seed: int = 2) -> Tables:
    rng = np.random.default_rng(seed)
    segments, ends, maps, low, scale, pieces, first, rows = [0], [], [], [], [], [], [], 0
    for code, places, counts in CHANNELS:
        segments.append(segments[-1] + len(counts))
        for a, b, count in zip(places[:-1], places[1:], counts, strict=True):
            s = sorted((mapped(code, a), mapped(code, b)))
            ends.append(b)
            maps.append(code)
            low.append(s[0])
            scale.append(count / (s[1] - s[0]))
            pieces.append(count)
            first.append(rows)
            rows += count
    return Tables(
        segments=np.array(segments),
        ends=np.array(ends),
        maps=np.array(maps),
        low=np.array(low),
        scale=np.array(scale),
        pieces=np.array(pieces),
        first=np.array(first),
        coefficients=rng.normal(size=(rows, SPLINE_DEGREE + 1)),
        nearest=np.array([places[0] for _, places, _ in CHANNELS]),
        farthest=np.array([places[-1] for _, places, _ in CHANNELS]),
    )


def plain_energy(tables: Tables, c: int, r: float) -> float:
    """E(r) between nearest and farthest."""
    code, places, counts = CHANNELS[c]
    g = max(k for k in range(len(counts)) if k == 0 or r > places[k])
    s = sorted((mapped(code, places[g]), mapped(code, places[g + 1])))
    t = (mapped(code, r) - s[0]) / (s[1] - s[0]) * counts[g]
    piece = min(max(int(t), 0), counts[g] - 1)
    row = sum(sum(more) for _, _, more in CHANNELS[:c]) + sum(counts[:g]) + piece
    return float(np.polynomial.polynomial.polyval(t - piece, tables.coefficients[row]))


@pytest.mark.parametrize("c", range(len(CHANNELS)))
def test_the_energy_is_the_polynomial_of_its_piece(c: int) -> None:
    tables = some_tables()
    places = CHANNELS[c][1]
    for r in np.random.default_rng(c).uniform(places[0], places[-1], 200):
        assert law(tables, c, r)[0] == pytest.approx(plain_energy(tables, c, r), rel=1e-11, abs=1e-11)


@pytest.mark.parametrize("c", range(len(CHANNELS)))
def test_the_slope_is_the_derivative_of_the_energy(c: int) -> None:
    tables, h, tried = some_tables(), 1e-4, 0
    code, places, counts = CHANNELS[c]
    for r in np.random.default_rng(c).uniform(0.1, 3.0, 300):
        ends = [r - 3.0 * h, r + 3.0 * h]
        numbers = []
        for end in ends:
            g = max(k for k in range(len(counts)) if k == 0 or end > places[k])
            s = sorted((mapped(code, places[g]), mapped(code, places[g + 1])))
            t = np.clip((mapped(code, end) - s[0]) / (s[1] - s[0]) * counts[g], 0, counts[g])
            numbers.append((g, int(t), end < places[0], end > places[-1]))
        if numbers[0] != numbers[1]:
            # pieces here are made up, so they do not meet
            continue
        tried += 1
        e = {k: law(tables, c, r + k * h)[0] for k in (-2, -1, 1, 2)}
        slope = (e[-2] - 8.0 * e[-1] + 8.0 * e[1] - e[2]) / (12.0 * h)
        assert law(tables, c, r)[1] == pytest.approx(slope, rel=1e-7, abs=1e-6)
    assert tried > 200


@pytest.mark.parametrize("c", range(len(CHANNELS)))
def test_nearer_and_farther_the_energy_goes_on_along_its_tangent(c: int) -> None:
    tables = some_tables()
    near, far = CHANNELS[c][1][0], CHANNELS[c][1][-1]
    for end, beyond in ((near, (0.0, 0.5 * near)), (far, (1.5 * far, 1e6))):
        energy, slope = law(tables, c, end)
        for r in beyond:
            assert law(tables, c, r) == pytest.approx((energy + slope * (r - end), slope), rel=1e-12)


@pytest.mark.parametrize("observe", [False, True])
@pytest.mark.parametrize("limit", [0.8, 1.6])
def test_pairs_push_each_other_as_in_plain_loops(limit: float, observe: bool) -> None:
    tables, rng = some_tables(), np.random.default_rng(8)
    q, shifts = rng.uniform(-1.0, 1.0, (3, 40)), rng.uniform(-0.5, 0.5, (3, 3))
    runs = np.array([[9, 9, 9, 0], [0, 7, 4, 1], [10, 31, 12, 2], [33, 35, 40, 0]], dtype=np.int32)
    before = rng.normal(size=(3, 50))
    for c in range(len(CHANNELS)):
        window, out = before.copy(), np.zeros(OUT_WORDS)
        centre = q[:, 35].copy()
        # a neighbour at the very place pushes nobody
        q[:, 12] = centre - shifts[2]
        push_table(q, window, runs, 1, 4, shifts, *centre, tables, c, limit * limit, observe, out)
        force, energy, virial, expected, met = np.zeros(3), 0.0, np.zeros((3, 3)), before.copy(), 0
        for begin, end, target, image in runs[1:].tolist():
            for j in range(begin, end):
                d = centre - shifts[image] - q[:, j]
                r = float(np.sqrt(d @ d))
                if r >= limit or r == 0.0:
                    continue
                met += 1
                value, slope = law(tables, c, r)
                expected[:, target + j - begin] += slope / r * d
                force -= slope / r * d
                energy += value
                virial -= slope / r * np.outer(d, d)
        assert met > 3
        np.testing.assert_allclose(window, expected, rtol=1e-12, atol=1e-10)
        np.testing.assert_allclose(out[OUT_FORCE : OUT_FORCE + 3], force, rtol=1e-12, atol=1e-9)
        if observe:
            np.testing.assert_allclose(out[OUT_ENERGY], energy, rtol=1e-12)
            np.testing.assert_allclose(out[OUT_VIRIAL:], [virial[a] for a in VIRIAL_AXES], rtol=1e-11, atol=1e-9)
        else:
            assert not out[OUT_ENERGY:].any()
