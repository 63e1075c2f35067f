"""What a fit must not do: overwrite data, trip over pairs that never meet, trust what is not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hamfit.data import Dataset
from hamfit.errors import GraphError, SpecError, StoreError
from hamfit.evaluation import evaluate
from hamfit.fitting import fit
from hamfit.options import FitOptions
from worlds import liquids, write

OPTIONS = FitOptions(cutoff=1.75, features=24, threads=1, checkpoint=False)


def test_a_dataset_is_never_overwritten_by_a_model(tmp_path: Path) -> None:
    data = write(tmp_path / "a.zarr", [liquids(1, 4)])
    digest = data.digest
    with pytest.raises(StoreError, match="is no model of hamfit"):
        fit(data, options=OPTIONS, out=tmp_path / "a.zarr")
    assert Dataset.open(tmp_path / "a.zarr").digest == digest


@pytest.mark.parametrize("changes", [{}, {"sampler": "swim"}, {"solver": "tsqr"}, {"solver": "tsqr", "ridge": 0.0}])
def test_a_pair_of_species_that_never_meets_costs_nothing(tmp_path: Path, changes: dict[str, object]) -> None:
    frames = [replace(f, labels=("1", "2")) for f in liquids(1, 12)]
    data = write(tmp_path / "a.zarr", [frames])
    options = OPTIONS.with_changes(cutoff="1-1=1.75,1-2=1.75,2-2=1.75", input_map="1/r", **changes)
    model = fit(data, options=options, blocks=("pair",)).model
    assert all(np.all(np.isfinite(theta)) for theta in model.theta)
    assert np.all(np.isfinite(model.forces(frames[0])))


def test_workers_without_a_cluster_are_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "a.zarr", [liquids(1, 2)])
    with pytest.raises(SpecError, match="give client="):
        fit(data, options=OPTIONS, workers=2)


def test_errors_name_the_frame_and_leave_no_workspace(tmp_path: Path) -> None:
    frames = liquids(1, 3)
    frames[0].q[3] = frames[0].q[11]
    data = write(tmp_path / "a.zarr", [frames])
    with pytest.raises(GraphError, match=r"a\.zarr, trajectory .*, frame 0: particles"):
        fit(data, options=OPTIONS.with_changes(checkpoint=True), out=tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_what_a_model_cannot_tell_is_not_judged(tmp_path: Path) -> None:
    data = write(tmp_path / "a.zarr", [liquids(1, 6)])
    model = fit(data, options=OPTIONS, blocks=("kinetic",)).model
    errors = evaluate(model, data)
    assert errors["force"] is None
    assert errors["extrapolated_share"] is None
    assert errors["velocity"] < 1e-8
