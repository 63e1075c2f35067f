"""A manifest is data of somebody else's: what it names must lie in its own store, as links in it must."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from hamfit.bundles import read_bundle, write_bundle
from hamfit.data import Dataset
from hamfit.data.manifest import _sealed
from hamfit.errors import StoreError
from hamfit.systems import simulate

OUTSIDE = ["../outside", "../../x/outside", "a/../../outside", "{place}/outside", "", ".", "a//b", "./a"]


@pytest.mark.parametrize("key", OUTSIDE)
def test_a_bundle_whose_manifest_points_out_of_it_is_damaged(tmp_path: Path, key: str) -> None:
    write_bundle(tmp_path / "bundle", "model", 1, {}, {"a": np.arange(3.0)})
    shutil.copytree(tmp_path / "bundle" / "a", tmp_path / "outside")
    manifest = json.loads((tmp_path / "bundle" / "_manifest.json").read_bytes())
    manifest["arrays"][0]["key"] = key.replace("{place}", str(tmp_path))
    (tmp_path / "bundle" / "_manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="damaged"):
        read_bundle(tmp_path / "bundle", "model", 1)


@pytest.mark.parametrize("key", OUTSIDE)
def test_a_dataset_whose_manifest_points_out_of_it_is_damaged(tmp_path: Path, key: str) -> None:
    path = tmp_path / "chain.zarr"
    simulate("spring", path, shape="3", n_trajectories=1, n_frames=3)
    manifest = json.loads((path / "_manifest.json").read_bytes())
    del manifest["checksum"]
    name, entry = manifest["arrays"].popitem()
    shutil.copytree(path / name, tmp_path / "outside")
    manifest["arrays"][key.replace("{place}", str(tmp_path))] = entry
    (path / "_manifest.json").write_bytes(_sealed(json.dumps(manifest, separators=(",", ":")).encode()))
    with pytest.raises(StoreError, match="damaged"):
        Dataset.open(path)
