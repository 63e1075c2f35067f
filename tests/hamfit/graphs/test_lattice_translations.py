from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from hamfit.frames import Frame
from hamfit.graphs.lattice import Lattice


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_translations_come_in_the_order_of_the_axes_to_the_bits_of_kernels(axes: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(5)
    box = 2.3 * np.eye(3) + rng.uniform(-0.4, 0.4, (3, 3))
    frame = Frame(np.zeros((1, 3)), np.zeros(1, dtype=np.int64), ("A",), np.ones(1), box, (True, True, True))
    a, b, c = Lattice.of(frame).vectors
    images = np.array([2, 0, 1])
    expected = []
    for numbers in product(*(range(-k, k + 1) for k in images)):
        n = dict(zip(axes, numbers, strict=True))
        expected.append([n[0] * a[k] + n[1] * b[k] + n[2] * c[k] for k in range(3)])
    got = Lattice.of(frame).translations(images, np.array(axes))
    np.testing.assert_array_equal(got, expected)
    if axes == (0, 1, 2):
        np.testing.assert_array_equal(Lattice.of(frame).translations(images), expected)
