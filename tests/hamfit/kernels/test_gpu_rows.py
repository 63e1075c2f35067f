"""The row kernels of a device give what those of the processor give, edge for edge in the same order."""

from __future__ import annotations

import numpy as np
import pytest

import radial_oracle as oracle
from hamfit.devices import AbstractDevice
from hamfit.features.device_radial import upload_radial, upload_table
from hamfit.features.pair import PairBlock
from hamfit.features.tables import RadialTable, build_table, spline_slopes
from hamfit.graphs import AllPairsGraph, Edges
from hamfit.kernels import gpu
from hamfit.types import FloatArray

CUTOFF = 2.5
MAPS = ("r", "1/r", "r2")


def random_edges(seed: int, n_centres: int, most: int, dim: int = 3) -> Edges:
    """Edges of centres some of which have none, lengths between 0.6 and the cutoff."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, most + 1, n_centres)
    total = int(counts.sum())
    vector = np.zeros((total, 3))
    vector[:, :dim] = rng.normal(size=(total, dim))
    length = np.linalg.norm(vector, axis=1)
    distance = rng.uniform(0.6, CUTOFF - 1e-6, total)
    vector *= (distance / length)[:, None]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Edges(offsets, np.zeros(total, dtype=np.int64), vector, distance, rng.integers(0, len(MAPS), total))


def uploaded(device: AbstractDevice, edges: Edges) -> gpu.DeviceEdges:
    return gpu.DeviceEdges(
        *(device.upload(getattr(edges, name)) for name in ("offsets", "neighbour", "vector", "distance", "channel"))
    )


def table_of(features: oracle.RadialFeatures, low: float = 0.6) -> RadialTable:
    rng = np.random.default_rng(7)
    projection = rng.normal(size=(features.n_columns, 4))
    extent = np.tile([low, CUTOFF], (features.n_channels, 1))
    return build_table(features, extent, projection, rng.normal(size=4))


def block_of(taper: str, links: bool = True, n: int = 5) -> PairBlock:
    radial = oracle.random_radial(np.full(3, CUTOFF), n=n, maps=MAPS, taper=taper, links=links)
    return PairBlock(radial, AllPairsGraph(("A", "B")))


# most: batches of 32 edges are cut, filled exactly and exceeded
@pytest.mark.parametrize(("dim", "most"), [(1, 3), (2, 32), (3, 33), (3, 80)])
def test_spline_rows_are_those_of_the_processor(device: AbstractDevice, dim: int, most: int) -> None:
    edges, table = random_edges(most, 17, most, dim), table_of(block_of("shift").radial, low=0.9)
    column = 3
    expected = np.zeros((17 * dim, column + table.n_local + 2))
    extent = np.tile([np.inf, -np.inf], (3, 1))
    left_out = table.fill(edges, dim, column, expected, extent)
    out = device.upload(np.full_like(expected, 7.0))
    on_device, basis = uploaded(device, edges), device.upload(spline_slopes())
    outside = gpu.spline_rows(
        device, on_device, upload_table(device, table), basis, dim, column, table.n_local, out
    )
    got = device.download(out)
    # other columns are left alone
    assert (got[:, :column] == 7.0).all()
    assert (got[:, -2:] == 7.0).all()
    inside = slice(column, column + table.n_local)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(got[:, inside], expected[:, inside], rtol=0.0, atol=1e-13 * scale)
    assert left_out.size > 0
    np.testing.assert_array_equal(device.download(outside), left_out)
    again = np.tile([np.inf, -np.inf], (3, 1))
    gpu.widen_extent(device, on_device.distance, on_device.channel, again)
    np.testing.assert_array_equal(again, extent)


def test_rows_too_wide_for_shared_memory_are_the_same(device: AbstractDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    edges, table = random_edges(5, 9, 40), table_of(block_of("shift").radial)
    slopes, on_device = device.upload(spline_slopes()), uploaded(device, edges)

    def rows() -> FloatArray:
        out = device.xp.zeros((27, table.n_local))
        gpu.spline_rows(device, on_device, upload_table(device, table), slopes, 3, 0, table.n_local, out)
        return device.download(out)

    staged = rows()
    monkeypatch.setattr(type(device), "shared_bytes", property(lambda self: 4096))
    np.testing.assert_array_equal(rows(), staged)


def test_the_same_input_gives_the_same_bits(device: AbstractDevice) -> None:
    edges, block = random_edges(2, 30, 50), block_of("smooth")
    on_device, radial = uploaded(device, edges), upload_radial(device, block.radial)
    first, second = device.xp.empty((90, block.n_columns)), device.xp.empty((90, block.n_columns))
    for out in (first, second):
        gpu.radial_rows(device, on_device, radial, 3, 0, out)
    np.testing.assert_array_equal(device.download(first), device.download(second))


@pytest.mark.parametrize("taper", ["shift", "smooth"])
@pytest.mark.parametrize(("dim", "links", "n"), [(1, True, 5), (2, False, 5), (3, True, 150)])
def test_radial_rows_are_those_of_the_block(
    device: AbstractDevice, taper: str, dim: int, links: bool, n: int
) -> None:
    edges, block = random_edges(3, 11, 12, dim), block_of(taper, links, n)
    out = device.upload(np.full((11 * dim, 2 + block.n_columns + 1), 7.0))
    gpu.radial_rows(device, uploaded(device, edges), upload_radial(device, block.radial), dim, 2, out)
    got, expected = device.download(out), block._rows_of(edges, dim)
    np.testing.assert_allclose(got[:, 2:-1], expected, rtol=0.0, atol=1e-12 * np.abs(expected).max())
    assert (got[:, :2] == 7.0).all()
    assert (got[:, -1] == 7.0).all()


@pytest.mark.parametrize("taper", ["shift", "smooth"])
@pytest.mark.parametrize("n_centres", [0, 2, 400])
def test_pooled_features_are_sums_over_edges(device: AbstractDevice, taper: str, n_centres: int) -> None:
    edges, block = random_edges(4, n_centres, 9), block_of(taper)
    expected = np.zeros(block.n_columns)
    for c in range(3):
        own = edges.distance[edges.channel == c]
        expected[block.radial.columns(c)] = block.radial.values(c, own).sum(axis=0)
    on_device = uploaded(device, edges)
    sums = gpu.radial_sums(device, on_device.distance, on_device.channel, upload_radial(device, block.radial))
    np.testing.assert_allclose(device.download(sums), expected, rtol=1e-12, atol=1e-11)


def test_rows_are_derivatives_of_the_pooled_features(device: AbstractDevice) -> None:
    """One centre with three neighbours: the row by finite differences of the sums over its edges."""
    block, step = block_of("smooth"), 1e-6
    radial = upload_radial(device, block.radial)
    channel = device.upload(np.arange(3))
    vector = np.array([[0.9, 0.3, -0.2], [-1.1, 0.5, 0.7], [0.2, -1.6, 0.4]])

    def sums(shift: FloatArray) -> FloatArray:
        distance = device.upload(np.linalg.norm(vector + shift, axis=1))
        return device.download(gpu.radial_sums(device, distance, channel, radial))

    edges = Edges(np.array([0, 3]), np.zeros(3, dtype=np.int64), vector, np.linalg.norm(vector, axis=1), np.arange(3))
    out = device.xp.empty((3, block.n_columns))
    gpu.radial_rows(device, uploaded(device, edges), radial, 3, 0, out)
    for axis in range(3):
        shift = step * np.eye(3)[axis]
        slope = (sums(shift) - sums(-shift)) / (2.0 * step)
        np.testing.assert_allclose(device.download(out)[axis], slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("m", "n", "columns"), [(0, 3, 2), (7, 1, 1), (5, 40, 33), (3, 200, 199)])
def test_squared_lengths_are_those_of_the_columns_asked_for(
    device: AbstractDevice, dtype: type, m: int, n: int, columns: int
) -> None:
    rows = np.random.default_rng(n).normal(size=(m, n)).astype(dtype)
    got = device.download(gpu.row_squares(device, device.upload(rows), columns))
    expected = np.sum(rows[:, :columns].astype(np.float64) ** 2, axis=1)
    np.testing.assert_allclose(got, expected, rtol=1e-13)
    assert got.dtype == np.float64
