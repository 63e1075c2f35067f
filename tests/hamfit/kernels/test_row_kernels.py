from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from hamfit.features.tables import spline_slopes
from hamfit.kernels.cpu import MAP_INVERSE, MAP_R, MAP_SQUARE, SPLINE_DEGREE, radial_rows, spline_rows, widen_extent
from hamfit.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class RandomEdges:
    """Edges in CSR form, of centres some of which have none."""

    offsets: IntArray
    vector: FloatArray
    distance: FloatArray
    channel: IntArray

    @classmethod
    def draw(cls, seed: int, n_centres: int, n_channels: int, dim: int) -> RandomEdges:
        rng = np.random.default_rng(seed)
        counts = rng.integers(0, 6, n_centres)
        total = int(counts.sum())
        vector = np.zeros((total, 3))
        vector[:, :dim] = rng.normal(size=(total, dim)) + 0.4
        return cls(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            vector,
            np.linalg.norm(vector, axis=1),
            rng.integers(0, n_channels, total),
        )


sizes = {
    "seed": st.integers(0, 2**31),
    "n_centres": st.integers(0, 9),
    "n_channels": st.integers(1, 3),
    "dim": st.integers(1, 3),
}


@settings(max_examples=15)
@given(**sizes, width=st.integers(1, 7), column=st.integers(0, 4))
def test_radial_rows_add_slopes_times_vectors(
    seed: int, n_centres: int, n_channels: int, dim: int, width: int, column: int
) -> None:
    edges = RandomEdges.draw(seed, n_centres, n_channels, dim)
    rng = np.random.default_rng(seed + 1)
    slopes = rng.normal(size=(edges.channel.size, width))
    before = rng.normal(size=(n_centres * dim, column + n_channels * width + 2))
    expected = before.copy()
    for centre in range(n_centres):
        for e in range(edges.offsets[centre], edges.offsets[centre + 1]):
            first = column + edges.channel[e] * width
            for axis in range(dim):
                expected[centre * dim + axis, first : first + width] += slopes[e] * edges.vector[e, axis]
    out = before.copy()
    radial_rows(edges.offsets, edges.vector, edges.channel, slopes, width, dim, column, out)
    np.testing.assert_allclose(out, expected, rtol=1e-14, atol=1e-14)
    np.testing.assert_array_equal(out[:, :column], before[:, :column])
    np.testing.assert_array_equal(out[:, -2:], before[:, -2:])


MAPS = {
    MAP_R: (lambda r: r, lambda r: 1.0),
    MAP_INVERSE: (lambda r: 1.0 / r, lambda r: -1.0 / r**2),
    MAP_SQUARE: (lambda r: r**2, lambda r: 2.0 * r),
}


@settings(max_examples=15)
@given(**sizes, column=st.integers(0, 3))
def test_spline_rows_are_gradients_of_scipys_b_splines(
    seed: int, n_centres: int, n_channels: int, dim: int, column: int
) -> None:
    edges = RandomEdges.draw(seed, n_centres, n_channels, dim)
    rng = np.random.default_rng(seed + 1)
    maps = rng.integers(0, 3, n_channels)
    pieces = rng.integers(1, 12, n_channels)
    low = rng.uniform(0.3, 0.6, n_channels)
    scale = pieces / rng.uniform(1.0, 2.0, n_channels)
    widths = pieces + SPLINE_DEGREE
    first_column = np.concatenate([[0], np.cumsum(widths)[:-1]]).astype(np.int64) + column
    out = np.zeros((n_centres * dim, column + int(widths.sum())))
    expected = np.zeros_like(out)
    left_out = []
    for centre in range(n_centres):
        for e in range(edges.offsets[centre], edges.offsets[centre + 1]):
            c, r = int(edges.channel[e]), float(edges.distance[e])
            value, slope = MAPS[int(maps[c])]
            t = (value(r) - low[c]) * scale[c]
            if not 0.0 <= t <= pieces[c]:
                left_out.append(e)
                continue
            knots = np.arange(-SPLINE_DEGREE, pieces[c] + SPLINE_DEGREE + 1.0)
            for m in range(int(widths[c])):
                one = BSpline(knots, np.eye(int(widths[c]))[m], SPLINE_DEGREE)
                factor = float(one.derivative()(t)) * scale[c] * slope(r) / r
                for axis in range(dim):
                    expected[centre * dim + axis, first_column[c] + m] += factor * edges.vector[e, axis]
    extent = np.tile([np.inf, -np.inf], (n_channels, 1))
    outside = np.empty(edges.channel.size, dtype=np.int64)
    count = spline_rows(
        edges.offsets,
        edges.vector,
        edges.distance,
        edges.channel,
        maps,
        low,
        scale,
        pieces,
        first_column,
        spline_slopes(),
        dim,
        out,
        extent,
        outside,
    )
    np.testing.assert_allclose(out, expected, atol=1e-12 * (1.0 + np.abs(expected).max(initial=0.0)))
    assert outside[:count].tolist() == left_out
    # the extent covers the edges left out too
    np.testing.assert_array_equal(extent, slow_extent(edges, n_channels))


def slow_extent(edges: RandomEdges, n_channels: int) -> FloatArray:
    out = np.tile([np.inf, -np.inf], (n_channels, 1))
    for c in range(n_channels):
        lengths = edges.distance[edges.channel == c]
        if lengths.size:
            out[c] = lengths.min(), lengths.max()
    return out


@given(**sizes)
def test_extents_are_the_shortest_and_longest_of_every_channel(
    seed: int, n_centres: int, n_channels: int, dim: int
) -> None:
    edges = RandomEdges.draw(seed, n_centres, n_channels, dim)
    extent = np.tile([np.inf, -np.inf], (n_channels, 1))
    half = edges.channel.size // 2
    widen_extent(edges.distance[:half], edges.channel[:half], extent)
    widen_extent(edges.distance[half:], edges.channel[half:], extent)
    np.testing.assert_array_equal(extent, slow_extent(edges, n_channels))


@pytest.mark.parametrize("t", [0.0, 5.0], ids=["lower end", "upper end"])
def test_edges_at_the_very_ends_of_a_table_are_inside(t: float) -> None:
    one = np.array([[1.0 + t, 0.0, 0.0]])
    outside = np.empty(1, dtype=np.int64)
    out = np.zeros((1, 5 + SPLINE_DEGREE))
    count = spline_rows(
        np.array([0, 1]),
        one,
        one[:, 0].copy(),
        np.zeros(1, dtype=np.int64),
        np.array([MAP_R]),
        np.array([1.0]),
        np.array([1.0]),
        np.array([5]),
        np.array([0]),
        spline_slopes(),
        1,
        out,
        np.array([[np.inf, -np.inf]]),
        outside,
    )
    assert count == 0
    # the B-splines add up to one everywhere, so their slopes add up to zero
    assert np.abs(out).max() > 1e-3
    assert abs(out.sum()) < 1e-14


def test_a_particle_at_rest_adds_nothing_and_no_nan() -> None:
    outside = np.empty(1, dtype=np.int64)
    out = np.zeros((3, 3 + SPLINE_DEGREE))
    spline_rows(
        np.array([0, 1]),
        np.zeros((1, 3)),
        np.zeros(1),
        np.zeros(1, dtype=np.int64),
        np.array([MAP_SQUARE]),
        np.zeros(1),
        np.ones(1),
        np.array([3]),
        np.array([0]),
        spline_slopes(),
        3,
        out,
        np.array([[np.inf, -np.inf]]),
        outside,
    )
    assert not out.any()
