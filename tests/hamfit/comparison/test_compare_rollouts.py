from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hamfit.comparison import compare_rollouts
from hamfit.comparison.pair_curves import pair_curves
from hamfit.data import Dataset
from hamfit.errors import DataError, ModelError
from hamfit.fitting import FitResult
from hamfit.systems.truth import truth_of
from rolled import Ring, roll, write_rollouts
from worlds import lennard_jones, liquids, write


def test_everything_is_json_without_nan(ring: Ring) -> None:
    told = compare_rollouts(ring.model, ring.reference, ring.rollouts).to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["errors"]["rollouts"] == 6
    assert told["true_law"] == "nspring"
    assert told["liquid"] is None
    assert told["forces"]["relative_error"] < 1e-6
    assert told["drift"]["non_finite"] == 0
    assert 1e-6 < told["errors"]["zerr"] < 1e-3
    each = told["rollouts"]["each"]
    assert [one["name"] for one in each] == [t.name for t in ring.rollouts.trajectories]
    assert [one["frame"] for one in each] == [0, 4] * 3
    assert {one["compared"] for one in each} == {16}
    assert np.exp(np.mean([np.log(one["zerr"]) for one in each])) == pytest.approx(told["errors"]["zerr"], rel=1e-10)


def test_paths_are_as_good_as_datasets(ring: Ring, tmp_path: Path) -> None:
    ring.model.save(tmp_path / "model")
    told = compare_rollouts(tmp_path / "model", str(ring.reference.path), ring.rollouts.path).to_dict()
    assert told == compare_rollouts(ring.model, ring.reference, ring.rollouts).to_dict()


def test_the_learned_law_of_bonds_is_the_true_one_up_to_a_constant(ring: Ring) -> None:
    (curve,) = pair_curves(ring.model, truth_of(ring.reference.attrs))
    assert curve.channel == "bond"
    assert curve.aligned
    assert curve.true == pytest.approx((curve.r**2 - 1.0) ** 2, rel=1e-12)
    assert curve.largest_difference is not None
    assert curve.largest_difference < 1e-6
    (alone,) = pair_curves(ring.model, None)
    assert alone.true is None
    assert alone.largest_difference is None
    assert alone.learned.min() == 0.0


def test_the_learned_law_of_a_liquid_needs_no_constant(binary_fit: FitResult) -> None:
    curves = pair_curves(binary_fit.model, None)
    assert [curve.channel for curve in curves] == ["A-A", "A-B", "B-B"]
    for curve in curves:
        expected = lennard_jones(curve.r)[0] - lennard_jones(np.array([1.75]))[0]
        assert curve.learned == pytest.approx(expected, abs=1e-5 * float(np.abs(expected).max()))


@pytest.fixture(scope="module")
def two_liquids(binary_fit: FitResult, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset]:
    """A reference, and rollouts from other starts."""
    folder = tmp_path_factory.mktemp("liquids")
    sides = []
    for name, seed in (("reference", 5), ("rollouts", 6)):
        starts = liquids(seed, 6, n_species=2)
        rolled = [
            roll(binary_fit.model, start, f"{name}-{k}", dt=0.004, steps=120, every=3) for k, start in enumerate(starts)
        ]
        sides.append(write_rollouts(folder / name, rolled))
    return sides[0], sides[1]


def test_liquids_of_one_law_agree_and_another_law_is_found_out(
    binary_fit: FitResult, two_liquids: tuple[Dataset, Dataset], tmp_path: Path
) -> None:
    reference, rollouts = two_liquids
    model = binary_fit.model
    same = compare_rollouts(model, reference, rollouts)
    assert same.liquid is not None
    kinds = {(o.kind, o.label): o.difference for o in same.liquid.observables}
    assert len(kinds) == 3 + 2 + 2 + 1 + 1
    for difference in kinds.values():
        assert difference is not None
        assert difference.p_value > 0.01
    # forces four times as strong
    theta = tuple(4.0 * t if block.part == "force" else t for block, t in zip(model.blocks, model.theta, strict=True))
    stiff = replace(model, theta=theta)
    rolled = [
        roll(stiff, start, f"b-{k}", dt=0.002, steps=240, every=6) for k, start in enumerate(liquids(7, 6, n_species=2))
    ]
    other = compare_rollouts(stiff, reference, write_rollouts(tmp_path / "b", rolled))
    assert other.liquid is not None
    found = {(o.kind, o.label): o.difference for o in other.liquid.observables}
    assert min(d.p_value for d in found.values() if d is not None) < 0.01


def test_a_rollout_that_still_follows_its_reference_is_no_sample(
    binary_fit: FitResult, two_liquids: tuple[Dataset, Dataset], tmp_path: Path
) -> None:
    reference, _ = two_liquids
    rolled = []
    for trajectory in reference.trajectories:
        start = trajectory.frame(0)
        rolled.append(roll(binary_fit.model, start, trajectory.name, dt=0.002, steps=240, every=6))
    comparison = compare_rollouts(binary_fit.model, reference, write_rollouts(tmp_path / "b", rolled))
    assert comparison.liquid is not None
    assert comparison.liquid.is_following
    assert any("no sample of their own" in text for text in comparison.warnings)


def test_liquids_that_share_no_lag_but_zero_are_not_compared_along_lags(
    binary_fit: FitResult, two_liquids: tuple[Dataset, Dataset], tmp_path: Path
) -> None:
    """At lag zero a displacement is 0 and a correlation 1, whatever the laws."""
    reference, _ = two_liquids
    starts = liquids(6, 6, n_species=2)
    rolled = [roll(binary_fit.model, start, f"b-{k}", dt=0.0031, steps=90, every=3) for k, start in enumerate(starts)]
    found = compare_rollouts(binary_fit.model, reference, write_rollouts(tmp_path / "b", rolled)).liquid
    assert found is not None
    compared = {o.kind for o in found.observables}
    for kind in ("msd", "vacf"):
        assert kind not in compared
        assert any(text.startswith(f"{kind} of ") and "share no lag" in text for text in found.missing)
    assert "rdf" in compared


def test_distances_never_seen_in_training_are_warned_of(binary_fit: FitResult, tmp_path: Path) -> None:
    hot = write(tmp_path / "hot", [liquids(3, 4, n_species=2, jitter=0.25)])
    comparison = compare_rollouts(binary_fit.model, hot, hot)
    assert comparison.extrapolated is not None
    assert comparison.extrapolated > 0.01
    assert any("outside those seen in training" in text for text in comparison.warnings)
    assert any("times of its frames" in text for text in comparison.warnings)


def test_other_units_species_and_dimensions_are_refused(ring: Ring, binary_fit: FitResult, tmp_path: Path) -> None:
    frames = liquids(3, 3, n_species=2)
    good = write(tmp_path / "good", [frames])
    with pytest.raises(DataError, match="is in ase units, the model in lj"):
        compare_rollouts(binary_fit.model, good, write(tmp_path / "ase", [frames], units="ase"))
    with pytest.raises(ModelError, match="2-dimensional"):
        compare_rollouts(ring.model, good, good)
    renamed = write(tmp_path / "x", [[replace(f, labels=("A", "X")) for f in frames]])
    with pytest.raises(ModelError, match="species X is unknown"):
        compare_rollouts(binary_fit.model, good, renamed)
