from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from hamfit.features.functions import PairFunctions
from hamfit.features.pair import PairBlock
from hamfit.features.radial import InputMap, RadialFeatures, Taper
from hamfit.fitting import FitResult
from hamfit.graphs import BondGraph
from hamfit.inference import Law
from hamfit.inference.pair import TOLERANCE, compile_pair
from hamfit.kernels.lanes import LAW_COEFFICIENTS, LAW_N
from hamfit.kernels.pair_tables import Tables, law
from hamfit.types import FloatArray
from radial_oracle import random_radial, slope, value

EXTENTS = np.array([[0.6, 1.88], [0.7, 1.5], [np.nan, np.nan]])
CUTOFFS = np.array([1.9, 1.6, 1.3])


def compiled(radial: RadialFeatures, extents: FloatArray = EXTENTS) -> tuple[tuple[Law, ...], Tables, FloatArray]:
    theta = np.random.default_rng(7).normal(size=radial.n_columns)
    graph = BondGraph(tuple(f"c{k}" for k in range(radial.n_channels)))
    made = compile_pair(PairFunctions(radial, graph), theta, extents, np.zeros(1))
    return made.laws, made.kernel.tables, theta


def exact(radial: RadialFeatures, theta: FloatArray, c: int, r: FloatArray) -> tuple[FloatArray, FloatArray]:
    """E and dE/dr from the features."""
    part = theta[radial.columns(c)]
    return radial.values(c, r) @ part, radial.slopes_over_r(c, r) @ part * r


def follow(one: Law, tables: Tables, c: int, r: FloatArray) -> tuple[FloatArray, FloatArray]:
    """E and dE/dr as an engine computes them: the polynomial from the core on, else pieces."""
    energy, steep = np.array([law(tables, c, x) for x in r]).T
    if one.row.size:
        n = int(one.row[LAW_N])
        shift, scale = one.row[2:4]
        on = r >= one.core
        v = r[on] ** -2.0 if one.inverse else r[on] ** 2
        u = v * scale + shift
        energy[on] = np.polyval(one.row[LAW_COEFFICIENTS + n :], u)
        pull = np.polyval(one.row[LAW_COEFFICIENTS : LAW_COEFFICIENTS + n], u)
        steep[on] = -pull * r[on] * (v * v if one.inverse else 1.0)
    return energy, steep


ALL = [(m, taper, links) for m in ("r", "1/r", "r2") for taper in ("shift", "smooth") for links in (True, False)]


@pytest.mark.parametrize("input_map, taper, links", ALL)
def test_every_map_and_taper_is_followed_to_rounding(input_map: InputMap, taper: Taper, links: bool) -> None:
    radial = random_radial(CUTOFFS, maps=(input_map,), taper=taper, links=links)
    laws, tables, theta = compiled(radial)
    for c, one in enumerate(laws):
        near, far = float(tables.nearest[c]), float(CUTOFFS[c])
        r = np.linspace(near, far, 701)[:-1] + 1e-4
        energy, steep = exact(radial, theta, c, r)
        got = follow(one, tables, c, r)
        np.testing.assert_allclose(got[0], energy, rtol=0, atol=1e-11 * np.abs(energy).max())
        np.testing.assert_allclose(got[1], steep, rtol=0, atol=3e-11 * np.abs(steep).max())


@pytest.mark.parametrize("input_map, taper, links", ALL)
def test_the_error_that_is_reported_is_true(input_map: InputMap, taper: Taper, links: bool) -> None:
    radial = random_radial(CUTOFFS, maps=(input_map,), taper=taper, links=links)
    laws, tables, theta = compiled(radial)
    for c, one in enumerate(laws[:2]):
        low, high = EXTENTS[c]
        r = low + (high - low) * (np.arange(7919) + 0.5) / 7919
        difference = follow(one, tables, c, r)[1] - exact(radial, theta, c, r)[1]
        size = float(np.sqrt(np.mean(exact(radial, theta, c, r)[1] ** 2)))
        assert one.error == pytest.approx(float(np.sqrt(np.mean(difference**2))) / size, rel=0.3, abs=1e-13)
        assert one.worst >= one.error
        assert float(np.abs(difference).max()) / size < 4.0 * one.worst + 1e-13
        assert one.extent == (low, high)


def test_values_agree_with_the_definition_of_the_features() -> None:
    radial = random_radial(CUTOFFS)
    laws, tables, theta = compiled(radial)
    for c, one in enumerate(laws):
        for r in np.linspace(0.75, CUTOFFS[c] - 0.05, 5):
            part = theta[radial.columns(c)]
            energy, steep = follow(one, tables, c, np.array([r]))
            expected = sum(part[k] * value(radial, c, k, r) for k in range(part.size))
            assert energy[0] == pytest.approx(expected, rel=1e-11, abs=1e-11)
            expected = sum(part[k] * slope(radial, c, k, r) for k in range(part.size))
            assert steep[0] == pytest.approx(expected, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("taper", ["shift", "smooth"])
def test_forces_are_the_derivative_of_energies_that_never_jump(taper: Taper) -> None:
    radial = random_radial(CUTOFFS, taper=taper)
    laws, tables, _ = compiled(radial)
    h = 1e-4
    for c, one in enumerate(laws):
        r = np.linspace(0.3 * float(tables.nearest[c]), CUTOFFS[c] - 3 * h, 400)
        clear = np.abs(r - one.core) > 3 * h
        e = {k: follow(one, tables, c, r + k * h)[0] for k in (-2, -1, 1, 2)}
        steep = (e[-2] - 8.0 * e[-1] + 8.0 * e[1] - e[2]) / (12.0 * h)
        got = follow(one, tables, c, r)[1]
        # the tangent meets the pieces with another curvature
        clear &= np.abs(r - float(tables.nearest[c])) > 3 * h
        assert np.abs(got - steep)[clear].max() < 1e-7 * np.abs(got).max()
        joints = [*tables.ends[tables.segments[c] : tables.segments[c + 1] - 1], tables.nearest[c], one.core]
        size = np.abs(follow(one, tables, c, r)[0]).max()
        for joint in joints:
            if joint < CUTOFFS[c]:
                around = np.array([np.nextafter(joint, 0.0), joint, np.nextafter(joint, 9.0)])
                energies, forces = follow(one, tables, c, around)
                assert np.ptp(energies) < 1e-11 * size
                assert np.ptp(forces) < 3e-11 * np.abs(got).max()
        # continuous at the cutoff too, where it is zero
        assert abs(follow(one, tables, c, np.array([CUTOFFS[c] * (1.0 - 1e-12)]))[0][0]) < 1e-10 * size


def test_a_lennard_jones_model_becomes_a_polynomial(binary_fit: FitResult) -> None:
    model = binary_fit.model
    position = [block.kind for block in model.blocks].index("pair")
    block = model.blocks[position]
    assert isinstance(block, PairBlock)
    laws = compile_pair(block.pair_functions, model.theta[position], model.extents["pair"], model.constants).laws
    assert [one.label for one in laws] == list(block.graph.channel_labels)
    for one in laws:
        assert one.form.startswith("polynomial of ")
        assert one.form.endswith(" in 1/r^2")
        assert one.inverse
        assert one.error <= 10.0 * TOLERANCE
        assert one.extent[0] <= one.core <= 1.05 * one.extent[0]
        assert one.row[LAW_N] % 4 == 0


@pytest.mark.parametrize("input_map", ["r", "1/r", "r2"])
def test_coefficients_that_cancel_cost_pieces_no_more_digits_than_the_slopes_lose(input_map: InputMap) -> None:
    """Fits hold coefficients of 1e6 in directions that the forces of training hardly see."""
    radial = random_radial(np.array([1.9]), n=24, maps=(input_map,))
    r = np.linspace(0.6, 1.9, 4000, endpoint=False)
    slopes = radial.slopes_over_r(0, r) * r[:, None]
    *_, directions = np.linalg.svd(slopes, full_matrices=False)
    theta = directions[0] + 3e9 * directions[-1]
    pair = PairFunctions(radial, BondGraph(("c",)))
    (one,) = compile_pair(pair, theta, np.array([[0.6, 1.9]]), np.zeros(1)).laws
    assert one.form.endswith(f"pieces of degree 7 in {input_map}")
    # what the sum of the features itself is known to
    parts = np.abs(slopes * theta).sum(axis=1)
    rounding = 2.0**-52 * float(np.sqrt(np.mean(parts**2) / np.mean((slopes @ theta) ** 2)))
    assert 1e-9 < rounding < 1e-6
    assert one.error < 3.0 * rounding


def sharp(cutoff: float) -> RadialFeatures:
    return RadialFeatures(
        ("r",),
        np.array([0.0]),
        np.array([1.0]),
        np.array([[40.0, -35.0, 20.0]]),
        np.array([[-40.0, 49.0, -20.0]]),
        np.array([cutoff]),
        ("smooth",),
    )


def test_a_sharp_law_is_left_to_pieces() -> None:
    (one,), *_ = compiled(sharp(1.9), np.array([[0.6, 1.9]]))
    assert one.form.endswith("pieces of degree 7 in r")
    assert one.row.size == 0
    assert one.core == 1.9
    assert one.error < 1e-9


def test_what_lies_between_the_pairs_seen_and_the_cutoff_is_followed_as_well() -> None:
    """A step in a region where no pair was seen is the model's all the same."""
    radial = RadialFeatures(
        ("r",),
        np.array([0.0]),
        np.array([1.0]),
        np.array([[1.0, 90.0]]),
        np.array([[-1.0, -90.0 * 1.7]]),
        np.array([1.9]),
        ("smooth",),
    )
    (one,), tables, theta = compiled(radial, np.array([[0.6, 0.9]]))
    r = np.linspace(0.61, 1.89, 900)
    energy, steep = follow(one, tables, 0, r)
    np.testing.assert_allclose(energy, exact(radial, theta, 0, r)[0], atol=1e-10)
    np.testing.assert_allclose(steep, exact(radial, theta, 0, r)[1], atol=1e-8 * np.abs(steep).max())


def test_a_channel_without_pairs_in_training_still_has_its_features() -> None:
    radial = random_radial(CUTOFFS)
    laws, tables, theta = compiled(radial)
    one = laws[2]
    assert one.form == "no pair was seen"
    assert one.row.size == 0
    r = np.linspace(0.33, 1.25, 20)
    np.testing.assert_allclose(follow(one, tables, 2, r)[0], exact(radial, theta, 2, r)[0], atol=1e-12)


def test_species_that_do_not_interact_have_no_law() -> None:
    radial = random_radial(np.array([1.9, 0.0, 1.3]))
    extents = np.array([[0.6, 1.88], [np.nan, np.nan], [0.5, 1.2]])
    laws, _, _ = compiled(radial, extents)
    assert laws[1].cutoff == 0.0
    assert laws[1].row.size == 0
    assert all(one.error < 1e-10 for one in laws)


@pytest.mark.parametrize("input_map", ["r", "1/r", "r2"])
def test_without_a_cutoff_the_energy_goes_on_along_its_tangent(input_map: InputMap) -> None:
    radial = random_radial(np.array([np.inf]), maps=(input_map,))
    (one,), tables, theta = compiled(radial, np.array([[0.5, 3.0]]))
    assert one.cutoff == np.inf
    assert (tables.nearest[0], tables.farthest[0]) == (0.25, 6.0)
    r = np.linspace(0.25, 6.0, 200)
    energy, steep = exact(radial, theta, 0, r)
    np.testing.assert_allclose(follow(one, tables, 0, r)[0], energy, atol=1e-11 * np.abs(energy).max())
    np.testing.assert_allclose(follow(one, tables, 0, r)[1], steep, atol=1e-10 * np.abs(steep).max())
    for r0, beyond in ((0.25, np.array([0.0, 0.1])), (6.0, np.array([6.1, 9.0, 1e4]))):
        energy, steep = exact(radial, theta, 0, np.array([r0]))
        got = follow(one, tables, 0, beyond)
        np.testing.assert_allclose(got[0], energy + steep * (beyond - r0), rtol=1e-9)
        np.testing.assert_allclose(got[1], np.full(beyond.size, steep[0]), rtol=1e-9)


def test_segments_follow_one_another() -> None:
    radial = random_radial(CUTOFFS)
    laws, tables, _ = compiled(radial)
    for c in range(len(laws)):
        ends = tables.ends[tables.segments[c] : tables.segments[c + 1]]
        assert all(a < b for a, b in pairwise([tables.nearest[c], *ends]))
        assert ends[-1] == tables.farthest[c] == CUTOFFS[c]
