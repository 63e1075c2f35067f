"""`python -m tests.benchmarks.zarr_python`: our own reading and writing of Zarr beside zarr-python's, in milliseconds.

Both do the same work on the same files: `docs/explanation/dependencies.md` says what follows from the figures.
"""

from __future__ import annotations

import shutil
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import zarr

from hamfit.bundles import read_bundle, write_bundle
from hamfit.data import Dataset, DatasetWriter
from hamfit.stores import zarr_array

#: Shapes of the arrays of a model of one pair block with 256 features, and of a dataset of short trajectories.
ARRAYS = {f"block/{k}": np.ones(shape) for k, shape in enumerate([(256,)] * 8 + [(256, 2)] * 4 + [(1, 1)] * 5)}
FRAMES = np.random.default_rng(0).normal(size=(20, 125, 3))
LARGE = np.random.default_rng(1).normal(size=(400, 4000, 3))


def median_ms(work: Callable[[], object], repeats: int) -> float:
    """Median time of the work, without what earlier repeats left in the cache of chunks."""
    seconds = []
    for _ in range(repeats):
        zarr_array._CACHE = zarr_array._ChunkCache(zarr_array.CACHE_BYTES)
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return 1e3 * statistics.median(seconds)


def write_dataset(path: Path, names: list[str], q: np.ndarray) -> None:
    """Trajectories with everything that an ordinary simulation gives."""
    n = q.shape[1]
    with DatasetWriter.create(path, units="lj", labels=["A"]) as writer:
        for name in names:
            writer.add_trajectory(name, q=q, velocity=q, force=q, species=np.zeros(n, int), masses=1.0, box=np.eye(3))


def array_of(group: zarr.Group, name: str) -> zarr.Array:
    """An array of a group of zarr's, which may hold groups too."""
    found = group[name]
    assert isinstance(found, zarr.Array)
    return found


def main(folder: Path) -> None:
    """Measure and print one line for each kind of work."""
    write_bundle(folder / "model", "model", 1, {"a": 1}, ARRAYS)
    write_dataset(folder / "data", [f"run-{k}" for k in range(5)], FRAMES)
    write_dataset(folder / "large", ["run"], LARGE)
    large = Dataset.open(folder / "large").trajectories[0]._array("particles/all/position/value")

    def model_by_zarr() -> None:
        group = zarr.open_group(folder / "model", mode="r")
        for name in ARRAYS:
            array_of(group, name)[...]

    def frame_by_zarr() -> None:
        group = zarr.open_group(folder / "data", mode="r")
        particles = "run-0/particles/all"
        for name in ("position/value", "velocity/value", "force/value"):
            array_of(group, f"{particles}/{name}")[3]
        for name in ("species", "mass", "box/edges"):
            array_of(group, f"{particles}/{name}")[...]

    def write_by_zarr() -> None:
        shutil.rmtree(folder / "other", ignore_errors=True)
        group = zarr.create_group(folder / "other", attributes={"a": 1})
        for name, value in ARRAYS.items():
            group.create_array(name, data=value, chunks=value.shape, compressors=None)
        zarr.consolidate_metadata(folder / "other")

    own_and_zarr: dict[str, tuple[Callable[[], object], Callable[[], object], int]] = {
        "open and read a model of 17 arrays": (lambda: read_bundle(folder / "model", "model", 1), model_by_zarr, 200),
        "open a dataset, read a frame": (
            lambda: Dataset.open(folder / "data").trajectories[0].frame(3),
            frame_by_zarr,
            200,
        ),
        "write a model of 17 arrays": (
            lambda: write_bundle(folder / "model", "model", 1, {}, ARRAYS),
            write_by_zarr,
            50,
        ),
        "read 38 MB": (large.read, lambda: zarr.open_array(folder / "large" / large.entry.key, mode="r")[...], 20),
    }
    for name, (own, others, repeats) in own_and_zarr.items():
        print(f"{name}: {median_ms(own, repeats):.2f}, zarr {zarr.__version__} {median_ms(others, repeats):.2f}")


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message="Consolidated metadata")
    with TemporaryDirectory() as temporary:
        main(Path(temporary))
