from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from hamfit.observables.blocking import BlockedCurve, block_length, compare_curves
from hamfit.types import FloatArray

X = np.linspace(0.0, 1.0, 7)


def curve(blocks: FloatArray) -> BlockedCurve:
    return BlockedCurve(np.arange(blocks.shape[1], dtype=np.float64), blocks)


def correlated(rng: np.random.Generator, n: int, rho: float) -> FloatArray:
    """A series whose neighbours have correlation rho, variance 1."""
    out = np.empty(n)
    out[0] = rng.normal()
    for k in range(1, n):
        out[k] = rho * out[k - 1] + np.sqrt(1.0 - rho**2) * rng.normal()
    return out


def test_block_means_and_errors_are_those_of_the_textbook() -> None:
    blocks = np.array([[1.0, 2.0], [3.0, 7.0], [8.0, 3.0]])
    one = curve(blocks)
    assert one.mean == pytest.approx([4.0, 4.0])
    expected = [np.sqrt(np.sum((column - 4.0) ** 2) / 2 / 3) for column in blocks.T]
    assert one.standard_error == pytest.approx(expected, rel=1e-14)
    assert np.isnan(curve(blocks[:1]).standard_error).all()


def test_blocks_give_the_error_of_a_correlated_series_where_single_frames_do_not() -> None:
    rng, rho, n = np.random.default_rng(2), 0.9, 2000
    blocked, naive = [], []
    for _ in range(200):
        series = correlated(rng, n, rho)
        blocked.append(curve(series.reshape(20, 100).mean(axis=1)[:, None]).standard_error[0] ** 2)
        naive.append(series.var() / n)
    true = (1.0 + rho) / (1.0 - rho) / n
    # blocks of ten correlation times miss a tenth of it
    assert np.mean(blocked) == pytest.approx(0.9 * true, rel=0.1)
    assert np.mean(naive) < 0.1 * true


def test_growth_tells_short_blocks_from_long_ones() -> None:
    rng = np.random.default_rng(4)
    # twenty bins, so that one growth is known well
    series = np.array([correlated(rng, 4000, 0.99) for _ in range(20)]).T
    long, short = (curve(series.reshape(n, 4000 // n, 20).mean(axis=1)) for n in (8, 400))
    assert long.growth is not None
    assert short.growth is not None
    assert short.growth > 1.3
    assert long.growth < 1.3
    assert curve(series[:7]).growth is None


def test_the_number_of_blocks_follows_the_number_of_frames() -> None:
    assert block_length([20]) == 5
    assert block_length([100]) == 10
    assert block_length([10_000]) == 500
    # many short trajectories: one block each
    assert block_length([60] * 12) == 60
    assert block_length([10] * 100) == 10
    assert block_length([1]) == 1
    assert block_length([]) == 0


def test_p_is_the_share_of_all_deals_counted_by_hand() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(3, 4)), rng.normal(size=(5, 4)) + 0.8
    rows = np.vstack([a, b])

    def statistic(members: tuple[int, ...]) -> float:
        one = rows[list(members)]
        two = rows[[k for k in range(8) if k not in members]]
        variance = one.var(axis=0, ddof=1) / len(one) + two.var(axis=0, ddof=1) / len(two)
        return float(np.mean((one.mean(axis=0) - two.mean(axis=0)) ** 2 / variance))

    real = statistic((0, 1, 2))
    every = [statistic(members) for members in combinations(range(8), 3)]
    found = compare_curves(curve(a), curve(b))
    assert found is not None
    assert found.chi2_per_bin == pytest.approx(real, rel=1e-10)
    assert found.deals == len(every)
    assert found.p_value == pytest.approx(np.mean(np.array(every) >= real * (1 - 1e-9)))
    z = (a.mean(axis=0) - b.mean(axis=0)) / np.sqrt(curve(a).standard_error ** 2 + curve(b).standard_error ** 2)
    assert found.z == pytest.approx(z, rel=1e-10)


def test_strongly_correlated_bins_raise_no_false_alarm() -> None:
    rng = np.random.default_rng(6)
    # neighbouring bins share almost all of their noise, and one side scatters more than the other
    mixing = np.exp(-np.abs(np.subtract.outer(np.arange(40), np.arange(40))) / 20.0)
    alarms = []
    for _ in range(200):
        a, b = rng.normal(size=(10, 40)) @ mixing, 2.0 * rng.normal(size=(14, 40)) @ mixing
        found = compare_curves(curve(a), curve(b))
        assert found is not None
        alarms.append(found.p_value <= 0.1)
    # 20 expected, standard deviation 4.2
    assert 6 <= sum(alarms) <= 34


def test_curves_that_differ_are_told_apart() -> None:
    rng = np.random.default_rng(7)
    a, b = rng.normal(size=(10, 6)), rng.normal(size=(10, 6))
    b[:, 2] += 4.0
    found = compare_curves(curve(a), curve(b))
    assert found is not None
    assert found.p_value < 0.005
    assert np.abs(found.z).argmax() == 2
    assert found.z[2] < -5.0


def test_bins_that_never_vary_are_left_out_and_certain_differences_are_kept() -> None:
    rng = np.random.default_rng(8)
    a, b = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    a[:, 0] = b[:, 0] = 0.1
    found = compare_curves(curve(a), curve(b))
    assert found is not None
    assert np.isnan(found.z[0])
    assert found.bins == 2
    same = compare_curves(curve(np.ones((4, 2))), curve(np.ones((4, 2))))
    assert same is not None
    assert (same.chi2_per_bin, same.p_value, same.bins) == (0.0, 1.0, 0)
    certain = compare_curves(curve(np.ones((4, 1))), curve(np.full((4, 1), 2.0)))
    assert certain is not None
    assert certain.chi2_per_bin > 1e20
    assert certain.p_value == pytest.approx(2 / 70)


def test_one_block_or_another_grid_cannot_be_compared() -> None:
    one = curve(np.ones((1, 2)))
    assert compare_curves(one, curve(np.ones((4, 2)))) is None
    with pytest.raises(ValueError, match="different places"):
        compare_curves(BlockedCurve(X, np.ones((3, 7))), BlockedCurve(2.0 * X, np.ones((3, 7))))
