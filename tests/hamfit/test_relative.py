from __future__ import annotations

import numpy as np

from hamfit.relative import relative_errors, relative_rms, rms


def test_the_error_is_relative_to_the_size_of_all_entries_together() -> None:
    expected = np.array([[3.0, -5.0], [7.0, 11.0]])
    got = expected + np.array([[1.0, -1.0], [2.0, 0.0]])
    assert rms(expected) == np.sqrt(204.0 / 4.0)
    np.testing.assert_allclose(relative_rms(got, expected), np.sqrt(6.0 / 204.0), rtol=1e-15)
    np.testing.assert_allclose(relative_rms(1e-9 * got, 1e-9 * expected), relative_rms(got, expected), rtol=1e-14)


def test_where_nothing_is_expected_there_is_no_error() -> None:
    assert relative_rms(np.ones(3), np.zeros(3)) == 0.0
    assert relative_errors(np.ones(3), np.zeros(3)) == (0.0, 0.0)


def test_the_largest_error_is_relative_to_the_same_size() -> None:
    expected, got = np.array([3.0, -5.0, 7.0]), np.array([3.0, -5.0, 9.0])
    size = np.sqrt(83.0 / 3.0)
    np.testing.assert_allclose(relative_errors(got, expected), (np.sqrt(4.0 / 3.0) / size, 2.0 / size), rtol=1e-15)
