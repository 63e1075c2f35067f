from __future__ import annotations

import numpy as np
import pytest

from hamfit.features.kinetic import KineticBlock
from hamfit.features.radial import RadialFeatures
from hamfit.model import Model
from hamfit.velocity_ratios import velocity_ratios

LABELS = ("light", "warped", "unseen", "resting")


def model_of(quadratic: list[float], quartic: list[float], extents: list[tuple[float, float]]) -> Model:
    """T = a p^2 + b p^4 for each species, by the direct links alone."""
    n = len(LABELS)
    nothing = np.zeros((n, 1))
    radial = RadialFeatures(("r2",) * n, np.zeros(n), np.ones(n), nothing, nothing, np.full(n, np.inf), ("shift",) * n)
    theta = np.array([[0.0, a, b] for a, b in zip(quadratic, quartic, strict=True)]).ravel()
    block = KineticBlock(radial, LABELS)
    known = {block.kind: np.array(extents)}
    return Model((block,), (theta,), np.full(n, np.nan), LABELS, (), 3, {"name": "lj"}, known)


@pytest.mark.parametrize("reach", [1.0, 2.0])
def test_ratios_are_those_of_the_kinetic_energy_over_the_momenta_seen(reach: float) -> None:
    extents = [(0.5, 3.0), (1.0, 2.0), (np.nan, np.nan), (0.0, 0.0)]
    found = velocity_ratios(model_of([0.25, 0.5, 1.0, 1.0], [0.0, 0.1, 0.0, 0.0], extents), reach=reach)
    assert found is not None
    low, high = 1.001, 2.0 * reach
    middle, largest = (1.0 + 0.4 * p**2 for p in (0.5 * (low + high), high))
    smallest = 1.0 + 0.4 * low**2
    np.testing.assert_allclose(found.ratio, [0.5, middle, np.nan, np.nan], rtol=1e-13)
    assert found.spread[0] < 1e-14
    assert found.spread[1] == pytest.approx(max(largest / middle - 1.0, 1.0 - smallest / middle), rel=1e-12)
    assert np.isnan(found.spread[2:]).all()


def test_a_ratio_of_zero_is_no_mass() -> None:
    found = velocity_ratios(model_of([0.0] * 4, [0.0] * 4, [(0.5, 3.0)] * 4))
    assert found is not None
    assert np.isinf(found.spread).all()
