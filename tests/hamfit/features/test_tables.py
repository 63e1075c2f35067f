from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import BSpline

import radial_oracle as oracle
from hamfit.features.curves import RadialCurve
from hamfit.features.radial import InputMap, RadialFeatures, Taper
from hamfit.features.tables import (
    RadialTable,
    build_table,
    most_local_columns,
    spline_polynomials,
    spline_slopes,
)
from hamfit.graphs import Edges
from hamfit.kernels.cpu import SPLINE_DEGREE
from hamfit.types import FloatArray

EXTENT = np.array([[0.8, 1.5], [0.7, 1.4], [0.9, 1.25]])
CUTOFFS = np.array([1.9, 1.6, 1.3])


def whitened(radial: RadialFeatures, k: int = 6) -> tuple[FloatArray, FloatArray]:
    """Some smooth combinations of the features, and a preliminary solution."""
    rng = np.random.default_rng(4)
    return rng.normal(size=(radial.n_columns, k)), rng.normal(size=k)


def edges_at(distance: FloatArray, channel: np.ndarray) -> Edges:
    """One edge for each centre, in a random direction."""
    rng = np.random.default_rng(6)
    direction = rng.normal(size=(distance.size, 3))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    return Edges(
        offsets=np.arange(distance.size + 1, dtype=np.int64),
        neighbour=np.zeros(distance.size, dtype=np.int64),
        vector=direction * distance[:, None],
        distance=distance,
        channel=np.asarray(channel, dtype=np.int64),
    )


def table_rows(table: RadialTable, edges: Edges) -> tuple[FloatArray, np.ndarray]:
    local = np.zeros((3 * (edges.offsets.size - 1), table.n_local))
    extent = np.tile([np.inf, -np.inf], (3, 1))
    outside = table.fill(edges, 3, 0, local, extent)
    return local @ table.lift, outside


def direct_rows(radial: RadialFeatures, edges: Edges, projection: FloatArray) -> FloatArray:
    out = np.zeros((edges.distance.size, 3, radial.n_columns))
    for e, (c, r) in enumerate(zip(edges.channel, edges.distance, strict=True)):
        slopes = radial.slopes_over_r(int(c), np.array([r]))[0]
        out[e, :, radial.columns(int(c))] = np.outer(edges.vector[e], slopes)
    return out.reshape(-1, radial.n_columns) @ projection


def test_spline_pieces_are_those_of_scipy() -> None:
    knots = np.arange(-SPLINE_DEGREE, SPLINE_DEGREE + 2.0)
    u = np.array([0.0, 0.3, 0.71, 0.999])
    powers = np.vander(u, SPLINE_DEGREE + 1, increasing=True)
    for m in range(SPLINE_DEGREE + 1):
        one = BSpline(knots, np.eye(SPLINE_DEGREE + 1)[m], SPLINE_DEGREE)
        np.testing.assert_allclose(powers @ spline_polynomials()[:, m], one(u), atol=1e-15)
        np.testing.assert_allclose(powers[:, :-1] @ spline_slopes()[:, m], one.derivative()(u), atol=1e-14)


def test_splines_add_up_to_one() -> None:
    total = spline_polynomials().sum(axis=1)
    np.testing.assert_allclose(total, np.eye(SPLINE_DEGREE + 1)[0], atol=1e-13)


@pytest.mark.parametrize("taper", ["smooth", "shift"])
def test_table_rows_equal_whitened_rows_of_the_features(taper: Taper) -> None:
    radial = oracle.random_radial(CUTOFFS, taper=taper)
    projection, preliminary = whitened(radial)
    table = build_table(radial, EXTENT, projection, preliminary)
    rng = np.random.default_rng(8)
    channel = rng.integers(0, 3, 300)
    distance = EXTENT[channel, 0] + (EXTENT[channel, 1] - EXTENT[channel, 0]) * rng.uniform(0.001, 0.999, 300)
    edges = edges_at(distance, channel)
    rows, outside = table_rows(table, edges)
    expected = direct_rows(radial, edges, projection)
    assert outside.size == 0
    assert np.abs(rows - expected).max() < 1e-9 * np.abs(expected).max()
    error = np.linalg.norm((rows - expected) @ preliminary) / np.linalg.norm(expected @ preliminary)
    # the table's own estimate is honest: it is made channel by channel, hence the factor
    assert error < 10.0 * table.error + 1e-14
    assert table.error < 1e-9


@pytest.mark.parametrize("input_map", ["r", "1/r", "r2"])
def test_table_forces_are_derivatives_of_one_energy(input_map: InputMap) -> None:
    radial = oracle.random_radial(np.array([np.inf]), maps=(input_map,), taper="shift")
    projection, preliminary = whitened(radial)
    table = build_table(radial, EXTENT[:1], projection, preliminary)
    r = np.linspace(0.81, 1.49, 4001)
    rows, _ = table_rows(table, edges_at(r, np.zeros(r.size)))
    vectors = edges_at(r, np.zeros(r.size)).vector
    # along its own direction a row is dpsi/dr
    slope = np.einsum("exk,ex->ek", rows.reshape(r.size, 3, -1), vectors) / r[:, None]
    weights = np.ones(r.size)
    weights[1:-1:2], weights[2:-1:2] = 4.0, 2.0
    integral = (r[1] - r[0]) / 3.0 * weights @ slope
    ends = radial.values(0, r[[0, -1]]) @ projection
    np.testing.assert_allclose(integral, ends[1] - ends[0], rtol=1e-8, atol=1e-9)


def test_edges_outside_the_table_are_named_and_left_out() -> None:
    radial = oracle.random_radial(CUTOFFS)
    projection, preliminary = whitened(radial)
    table = build_table(radial, EXTENT, projection, preliminary)
    distance = np.array([1.0, 0.5, 1.2, 1.55, 1.1])
    edges = edges_at(distance, np.array([0, 1, 2, 1, 0]))
    rows, outside = table_rows(table, edges)
    assert outside.tolist() == [1, 3]
    for e in outside:
        assert not rows[3 * e : 3 * e + 3].any()


def test_columns_from_an_offset_on_are_used_and_the_rest_kept() -> None:
    radial = oracle.random_radial(CUTOFFS)
    table = build_table(radial, EXTENT, *whitened(radial))
    edges = edges_at(np.array([1.0, 1.1]), np.array([0, 2]))
    plain = np.zeros((6, table.n_local))
    extent = np.tile([np.inf, -np.inf], (3, 1))
    table.fill(edges, 3, 0, plain, extent)
    shifted = np.full((6, table.n_local + 5), 7.0)
    shifted[:, 3 : 3 + table.n_local] = 0.0
    table.fill(edges, 3, 3, shifted, extent)
    np.testing.assert_array_equal(shifted[:, 3:-2], plain)
    assert np.all(shifted[:, :3] == 7.0)
    assert np.all(shifted[:, -2:] == 7.0)
    np.testing.assert_array_equal(extent, [[1.0, 1.0], [np.inf, -np.inf], [1.1, 1.1]])


def test_no_table_is_wider_than_the_prediction_of_memory_says() -> None:
    # steep features need the finest table there is
    radial = oracle.random_radial(CUTOFFS, n=3)
    rough = RadialFeatures(
        radial.input_maps,
        radial.low,
        radial.high,
        radial.weights * 1e3,
        radial.biases,
        radial.cutoffs,
        radial.tapers,
        radial.links,
    )
    assert build_table(rough, EXTENT, *whitened(rough)).n_local <= most_local_columns(3)


def test_a_channel_without_edges_in_training_is_never_read_from_its_table() -> None:
    nothing, one = np.full((1, 2), np.nan), np.ones(1)
    features = RadialFeatures(("r",), 0.5 * one, 2.0 * one, np.ones((1, 2)), np.zeros((1, 2)), 2.5 * one, ("shift",))
    curve = RadialCurve.compile(features, np.array([0.3, -0.7, 1.1, 0.2]), nothing)
    r, channel = np.linspace(0.1, 2.4, 24), np.zeros(24, dtype=np.int64)
    for got, expected in zip(curve(r, channel), features.contract(r, channel, curve.theta), strict=True):
        np.testing.assert_array_equal(got, expected)
        assert np.abs(got).min() > 0.0


@pytest.mark.parametrize("input_map", ["r", "1/r", "r2"])
def test_a_curve_is_its_features_within_and_beyond_what_was_seen(input_map: InputMap) -> None:
    radial = oracle.random_radial(CUTOFFS, maps=(input_map,))
    theta = np.random.default_rng(3).normal(size=radial.n_columns)
    curve = RadialCurve.compile(radial, theta, EXTENT)
    channel = np.arange(600, dtype=np.int64) % 3
    share = np.linspace(-0.3, 1.1, 600)
    r = EXTENT[channel, 0] + share * (EXTENT[channel, 1] - EXTENT[channel, 0])
    for got, expected in zip(curve(r, channel), radial.contract(r, channel, theta), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("input_map", ["r", "r2"])
def test_a_particle_at_rest_has_the_energy_and_slope_of_its_features(input_map: InputMap) -> None:
    """The range of momenta may begin at zero, where pieces, functions of r > 0, do not."""
    radial = oracle.random_radial(np.array([np.inf]), maps=(input_map,))
    theta = np.random.default_rng(3).normal(size=radial.n_columns)
    curve = RadialCurve.compile(radial, theta, np.array([[0.0, 1.5]]))
    r, channel = np.array([0.0, 1e-9, 0.2, 1.5]), np.zeros(4, dtype=np.int64)
    with np.errstate(all="ignore"):
        expected = radial.contract(r, channel, theta)
    got = curve(r[1:], channel[1:])
    for one, two in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, two[1:], rtol=1e-10)
    if input_map == "r2":
        for one, two in zip(curve(r, channel), expected, strict=True):
            assert np.isfinite(one).all()
            assert one[0] == pytest.approx(two[0], rel=1e-13)
