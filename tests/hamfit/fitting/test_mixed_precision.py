"""Fits in single precision with a refinement: the forces of double precision, and a report that says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hamfit.data import Dataset
from hamfit.devices import AbstractDevice, DeviceChoice
from hamfit.errors import FitError, SpecError
from hamfit.fitting import FitResult, fit, stage
from hamfit.fitting.shards import Shard
from hamfit.frames import Frame
from hamfit.options import FitOptions
from hamfit.types import FloatArray
from worlds import force_of, liquids, write

pytestmark = pytest.mark.filterwarnings("ignore::hamfit.errors.FitWarning")

FRAMES = liquids(1, 12, n_species=2)
OPTIONS = FitOptions(cutoff=1.75, features=32, threads=1, checkpoint=False)


def noisy(frames: list[Frame], share: float) -> list[Frame]:
    rng = np.random.default_rng(5)
    return [
        replace(frame, pdot=force_of(frame) + share * np.std(force_of(frame)) * rng.normal(size=frame.q.shape))
        for frame in frames
    ]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write(tmp_path_factory.mktemp("clean") / "a.zarr", [FRAMES])


@pytest.fixture(scope="module")
def rough(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write(tmp_path_factory.mktemp("rough") / "a.zarr", [noisy(FRAMES, 0.03)])


def forces_of(result: FitResult) -> FloatArray:
    return np.concatenate([result.model.forces(frame).reshape(-1) for frame in FRAMES[:3]])


def difference(data: Dataset, **options: Any) -> tuple[float, FitResult]:
    """Relative difference of the forces of both precisions, and the mixed fit."""
    double, mixed = (fit(data, options=OPTIONS, precision=precision, **options) for precision in ("double", "mixed"))
    expected = forces_of(double)
    return float(np.linalg.norm(forces_of(mixed) - expected) / np.linalg.norm(expected)), mixed


def choice_of(place: AbstractDevice | None) -> DeviceChoice:
    if place is None:
        return "cpu"
    return "cuda" if place.kind == "cuda" else "emulated"


def test_an_exact_law_is_found_as_exactly(clean: Dataset, place: AbstractDevice | None) -> None:
    error, mixed = difference(clean, device=choice_of(place))
    assert error < 1e-11
    assert mixed.report["held_out"]["force"] < 1e-9


def test_noise_is_averaged_to_the_same_forces(rough: Dataset, place: AbstractDevice | None) -> None:
    # with a ridge that fixes what noise leaves open; without, two fits in double precision differ by more
    error, mixed = difference(rough, device=choice_of(place), ridge=1e-12)
    assert error < 1e-10
    part = mixed.report["parts"]["force"]
    assert part["first_step"] > 1e-3
    assert part["refinement_step"] < 1e-5 * part["first_step"]


def test_a_chosen_ridge_is_that_of_double_precision(rough: Dataset) -> None:
    error, mixed = difference(rough)
    double = fit(rough, options=OPTIONS)
    for name in ("train", "held_out", "rank"):
        assert mixed.report[name]["force"] == pytest.approx(double.report[name]["force"], rel=1e-3)
    # of the noise, which is 0.03, what is left of it in the forces of either is a hundred times that
    assert error < 1e-4


@pytest.mark.parametrize("energy_weight", [0.0, 1.0])
def test_the_many_body_block_loses_nothing_that_counts(clean: Dataset, energy_weight: float) -> None:
    many = {"blocks": ("manybody",), "features": 24, "radial": 4, "l_max": 1, "energy_weight": energy_weight}
    error, mixed = difference(clean, ridge=1e-9, **many)
    assert error < 1e-6 * mixed.report["train"]["force"]


def test_many_columns_are_solved_from_the_gram_matrix_alone(rough: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("part_stream", "preparing"):
        monkeypatch.setattr(f"hamfit.fitting.{module}.MOST_RARE_COLUMNS", 10)
    error, mixed = difference(rough, ridge=1e-12)
    assert not mixed.report["parts"]["force"]["rare_rows_apart"]
    assert error < 1e-10
    assert mixed.report["parts"]["force"]["refinement_step"] < 1e-5 * mixed.report["parts"]["force"]["first_step"]


def test_the_report_names_the_precision(clean: Dataset) -> None:
    double, mixed = (fit(clean, options=OPTIONS, precision=precision) for precision in ("double", "mixed"))
    assert (double.report["precision"], mixed.report["precision"]) == ("double", "mixed")
    assert "refinement_step" not in double.report["parts"]["force"]
    assert mixed.model.provenance["options"]["precision"] == "mixed"
    assert mixed.report["rows"] == double.report["rows"]
    for name in ("rare_rows", "edges_outside_tables", "rows"):
        assert mixed.report["parts"]["force"][name] == double.report["parts"]["force"][name]


@pytest.mark.parametrize("solver", ["tsqr", "normal"])
def test_other_solvers_refuse_it(clean: Dataset, solver: str) -> None:
    with pytest.raises(SpecError, match="'precision' cannot be 'mixed': only the solver sketched can refine"):
        fit(clean, options=OPTIONS, precision="mixed", solver=solver)


def test_threads_do_not_change_a_bit(rough: Dataset) -> None:
    one, two = (fit(rough, options=OPTIONS, precision="mixed", threads=threads) for threads in (1, 2))
    assert [t.tobytes() for t in one.model.theta] == [t.tobytes() for t in two.model.theta]


@pytest.mark.parametrize("stop_after", [3, 7])
def test_a_fit_that_was_interrupted_in_either_pass_goes_on_to_the_same_bits(
    rough: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    options = OPTIONS.with_changes(precision="mixed", checkpoint=True)
    clean = fit(rough, options=options)
    n_shards = clean.report["shards"]
    assert n_shards == 5
    computed: list[int] = []
    real: Callable[..., object] = stage.reduce_shard

    def spied(shard: Shard, *rest: object) -> object:
        if not shard.sampled:
            if len(computed) == stop_after:
                raise FitError("stopped by the test")
            computed.append(shard.index)
        return real(shard, *rest)

    monkeypatch.setattr(stage, "reduce_shard", spied)
    with pytest.raises(FitError, match="stopped by the test"):
        fit(rough, options=options, out=tmp_path / "m")
    stop_after = -1
    result = fit(rough, options=options, out=tmp_path / "m")
    # two passes over all shards, none of them twice
    assert sorted(computed) == sorted([*range(n_shards), *range(n_shards)])
    assert [t.tobytes() for t in result.model.theta] == [t.tobytes() for t in clean.model.theta]
