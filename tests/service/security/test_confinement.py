"""What a reference may point to: nothing outside of the data roots, by whatever way it is written or linked."""

from __future__ import annotations

import os
import socket
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from parts import Parts

from hamfit.data import Dataset
from hamfit.errors import DiskError
from hamfit.systems import simulate
from hamfit_service.security.confinement import Confinement, ReferenceRefused, open_beneath

SECRET = "root:x:0:0"


@pytest.fixture
def world(parts: Parts, tmp_path: Path) -> Parts:
    """seen.zarr, runs/one.zarr and dump.xyz in the data root; a dataset and a file beside it."""
    for place in (parts.data / "seen.zarr", parts.data / "runs" / "one.zarr", tmp_path / "outside" / "theirs.zarr"):
        dataset(place)
    (parts.data / "dump.xyz").write_text("1\n")
    (tmp_path / "outside" / "secret.xyz").write_text(SECRET)
    return parts


def dataset(place: Path) -> None:
    """A folder that passes for a dataset or model until it is opened."""
    (place / "positions").mkdir(parents=True)
    (place / "_manifest.json").write_text("{}")
    (place / "positions" / "c.0").write_bytes(b"0")


def refused(parts: Parts, reference: str, kind: str = "dataset") -> str:
    with pytest.raises(ReferenceRefused) as caught:
        parts.confinement(kind, reference)
    return str(caught.value)


def test_paths_inside_are_found_however_they_are_written(world: Parts) -> None:
    seen = world.data / "seen.zarr"
    for text in ("seen.zarr", "./seen.zarr", "seen.zarr/", ".//seen.zarr", str(seen), f"file://{seen}"):
        assert world.confinement("dataset", text) == seen
    assert world.confinement("model", "runs/one.zarr") == world.data / "runs" / "one.zarr"
    assert world.confinement("file", "dump.xyz") == world.data / "dump.xyz"


def test_the_data_of_every_root_is_found_the_first_root_first(tmp_path: Path) -> None:
    parts = Parts.at(tmp_path, tmp_path / "more", tmp_path / "missing")
    for place in (parts.data / "both.zarr", tmp_path / "more" / "both.zarr", tmp_path / "more" / "second.zarr"):
        dataset(place)
    assert parts.confinement("dataset", "both.zarr") == parts.data / "both.zarr"
    assert parts.confinement("dataset", "second.zarr") == tmp_path / "more" / "second.zarr"
    parts.database.close()


def test_a_data_root_may_be_a_link(tmp_path: Path) -> None:
    dataset(tmp_path / "disk" / "seen.zarr")
    (tmp_path / "mounted").symlink_to(tmp_path / "disk")
    parts = Parts.at(tmp_path, tmp_path / "mounted")
    for text in ("seen.zarr", f"{tmp_path}/mounted/seen.zarr", f"{tmp_path}/disk/seen.zarr"):
        assert parts.confinement("dataset", text) == tmp_path / "disk" / "seen.zarr"
    parts.database.close()


OUTSIDE = [
    "..",
    "../outside/theirs.zarr",
    "runs/../../outside/theirs.zarr",
    "runs/../seen.zarr",
    "./../outside/theirs.zarr",
    "{data}/../outside/theirs.zarr",
    "file://{data}/../outside/theirs.zarr",
    "{outside}/theirs.zarr",
    "file://{outside}/theirs.zarr",
    "//{outside}/theirs.zarr",
    "{data}2/seen.zarr",
    "%2e%2e/outside/theirs.zarr",
    "..%2foutside/theirs.zarr",
    "file:///%2e%2e{outside}/theirs.zarr",
    "file://localhost{outside}/theirs.zarr",
    "file://host/etc",
    "file:////host/share",
    "file:{outside}/theirs.zarr",
    "FILE://{outside}/theirs.zarr",
    "~/seen.zarr",
    "$HOME/seen.zarr",
    "http://127.0.0.1/seen.zarr",
    "https://example.org/seen.zarr",
    "s3://bucket/seen.zarr",
    "gs://bucket/seen.zarr",
    "zip://seen.zarr",
    "memory://seen.zarr",
    "simplecache::http://example.org/seen.zarr",
    "C:\\seen.zarr",
    "..\\outside\\theirs.zarr",
    "/",
    "/etc",
    "/proc/self/root{outside}/theirs.zarr",
    "/proc/self/cwd",
    "/dev/fd/0",
    "seen.zarr\x00/../../outside/theirs.zarr",
    "seen.zarr\n",
    "\x7f",
    "\ud800",
    "",
    "a" * 300,
    "a" * 5000,
    "/".join(["a"] * 512),
    "\u2025/outside/theirs.zarr",
    "\uff0e\uff0e/outside/theirs.zarr",
    "job:../../outside",
    "job:0123456789abcdeF",
    "job:0123456789abcdef",
    "JOB:0123456789abcdef",
    "liquid@0",
    "liquid@1",
    "../liquid@1",
    "root/hamfit.sqlite",
]


@pytest.mark.parametrize("text", OUTSIDE)
@pytest.mark.parametrize("kind", ["dataset", "model", "file"])
def test_nothing_outside_is_found(world: Parts, tmp_path: Path, text: str, kind: str) -> None:
    refused(world, text.replace("{data}", str(world.data)).replace("{outside}", str(tmp_path / "outside")), kind)


def test_whether_something_outside_exists_is_not_told(world: Parts, tmp_path: Path) -> None:
    for name in ("theirs.zarr", "secret.xyz", "nothing.xyz"):
        (world.data / f"to-{name}").symlink_to(tmp_path / "outside" / name)
    answers = {
        refused(world, text, kind).replace(text, "REFERENCE").replace(kind, "KIND")
        for kind in ("dataset", "model", "file")
        for name in ("theirs.zarr", "secret.xyz", "nothing.xyz")
        for text in (str(tmp_path / "outside" / name), f"to-{name}")
    }
    assert len(answers) == 1, answers


def test_links_are_followed_inside_and_not_out(world: Parts, tmp_path: Path) -> None:
    (world.data / "latest.zarr").symlink_to("runs/one.zarr")
    assert world.confinement("dataset", "latest.zarr") == world.data / "runs" / "one.zarr"
    (world.data / "theirs.zarr").symlink_to(tmp_path / "outside" / "theirs.zarr")
    (world.data / "folder").symlink_to(tmp_path / "outside")
    (world.data / "round").symlink_to("round")
    (world.data / "up").symlink_to("../..")
    for text in ("theirs.zarr", "folder/theirs.zarr", "round", "round/x", f"up/{tmp_path.name}/outside/theirs.zarr"):
        refused(world, text)
    refused(world, "folder/secret.xyz", "file")


def _socket(place: Path) -> None:
    os.chdir(place.parent)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place.name)


@pytest.mark.parametrize("make", [os.mkfifo, _socket], ids=["pipe", "socket"])
def test_what_is_neither_file_nor_folder_is_refused_without_being_opened(
    world: Parts, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world.data)
    make(world.data / "special")
    make(world.data / "seen.zarr" / "positions" / "special")
    (world.data / "device").symlink_to("/dev/zero")
    for kind in ("file", "dataset"):
        refused(world, "special", kind)
        refused(world, "device", kind)
    assert "special in it is neither file nor folder" in refused(world, "seen.zarr")


def test_a_thing_of_another_kind_is_refused(world: Parts) -> None:
    assert "is not a regular file" in refused(world, "seen.zarr", "file")
    assert "is not the folder of a dataset" in refused(world, "dump.xyz")
    assert "it has no _manifest.json" in refused(world, "runs")
    assert "it has no _manifest.json" in refused(world, ".")


def test_hidden_things_are_not_to_be_had(world: Parts) -> None:
    dataset(world.data / ".partial.zarr")
    (world.data / ".ssh").mkdir()
    (world.data / ".ssh" / "key").write_text(SECRET)
    (world.data / "key").symlink_to(".ssh/key")
    refused(world, ".partial.zarr")
    for text in (".ssh/key", "key"):
        refused(world, text, "file")


LEADING_OUT: dict[str, Callable[[Path, Path], None]] = {
    "a chunk": lambda folder, outside: (folder / "positions" / "c.1").symlink_to(outside / "secret.xyz"),
    "an array": lambda folder, outside: (folder / "momenta").symlink_to(outside / "theirs.zarr"),
    "a link to nothing": lambda folder, outside: (folder / "momenta").symlink_to(outside / "nothing"),
    "a link round": lambda folder, outside: (folder / "momenta").symlink_to("momenta"),
    "a device": lambda folder, outside: (folder / "c.0").symlink_to("/dev/zero"),
    "two links": lambda folder, outside: (
        (folder.parent / "between").symlink_to(outside),
        (folder / "momenta").symlink_to(folder.parent / "between" / "theirs.zarr"),
    )[0],
    "a link in a folder linked to": lambda folder, outside: (
        (folder.parent / "arrays").mkdir(),
        (folder.parent / "arrays" / "c.0").symlink_to(outside / "secret.xyz"),
        (folder / "momenta").symlink_to("../arrays"),
    )[0],
    "the manifest": lambda folder, outside: (
        (folder / "_manifest.json").unlink(),
        (folder / "_manifest.json").symlink_to(outside / "secret.xyz"),
    )[0],
}


@pytest.mark.parametrize("lead", LEADING_OUT.values(), ids=LEADING_OUT)
def test_a_dataset_must_not_lead_out_through_links_in_it(
    world: Parts, tmp_path: Path, lead: Callable[[Path, Path], None]
) -> None:
    lead(world.data / "seen.zarr", tmp_path / "outside")
    for kind in ("dataset", "model"):
        message = refused(world, "seen.zarr", kind)
        assert "leads to nothing that jobs may read" in message
        assert str(tmp_path) not in message


def test_a_dataset_may_have_links_inside_of_the_roots_also_in_circles(world: Parts) -> None:
    (world.data / "arrays").mkdir()
    (world.data / "arrays" / "back").symlink_to("../seen.zarr")
    (world.data / "arrays" / "c.0").write_bytes(b"0")
    (world.data / "seen.zarr" / "momenta").symlink_to("../arrays")
    (world.data / "seen.zarr" / "self").symlink_to(".")
    assert world.confinement("dataset", "seen.zarr") == world.data / "seen.zarr"


def test_what_changes_between_submission_and_start_is_refused_at_the_start(world: Parts, tmp_path: Path) -> None:
    pinned = world.confinement.pinned("dataset", "runs/one.zarr")
    world.confinement("dataset", pinned)
    (world.data / "runs").rename(world.data / "before")
    (world.data / "runs").symlink_to(tmp_path / "outside")
    (tmp_path / "outside" / "one.zarr").symlink_to("theirs.zarr")
    refused(world, pinned)
    (world.data / "runs").unlink()
    (world.data / "before").rename(world.data / "runs")
    found = world.confinement("dataset", pinned)
    (found / "positions" / "c.0").unlink()
    (found / "positions" / "c.0").symlink_to(tmp_path / "outside" / "secret.xyz")
    refused(world, pinned)


def test_a_path_that_was_found_has_no_links_left_to_change(world: Parts) -> None:
    (world.data / "latest").symlink_to("runs")
    found = world.confinement("dataset", "latest/one.zarr")
    assert found == Path(os.path.realpath(found))


def test_the_services_own_files_are_not_data(tmp_path: Path) -> None:
    parts = Parts.at(tmp_path, tmp_path)  # the root lies in a data root, as it does for one started at home
    dataset(parts.folders.job("0" * 16).results / "dataset.zarr")
    for text in ("root/hamfit.sqlite", str(parts.folders.root / "hamfit.sqlite")):
        refused(parts, text, "file")
    refused(parts, f"root/jobs/{'0' * 16}/results/dataset.zarr")
    (parts.data / "jobs").symlink_to(parts.folders.root / "jobs")
    refused(parts, f"jobs/{'0' * 16}/results/dataset.zarr")
    parts.database.close()


def test_a_data_root_may_lie_in_the_services_root(tmp_path: Path) -> None:
    parts = Parts.at(tmp_path, tmp_path / "root" / "shared")
    dataset(tmp_path / "root" / "shared" / "seen.zarr")
    assert parts.confinement("dataset", "seen.zarr") == tmp_path / "root" / "shared" / "seen.zarr"
    parts.database.close()


# Names of links that lead in, out, round, to nothing and to devices, beside ordinary ones.
PIECES = st.one_of(
    st.sampled_from(
        ["..", ".", "", "seen.zarr", "runs", "one.zarr", "in", "out", "round", "nothing", "up", "zero", "positions"]
    ),
    st.sampled_from(["outside", "theirs.zarr", "secret.xyz", "etc", "passwd", "~", "%2e%2e", "*", "c.0", "data"]),
    st.text(string.printable, max_size=4),
)
STARTS = st.sampled_from(["", "/", "//", "./", "file://", "file:///", "DATA/", "file://DATA/", "OUTSIDE/", "job:", "@"])


@pytest.fixture
def maze(world: Parts, tmp_path: Path) -> Parts:
    """Links of every kind in the data root."""
    links = {
        "in": "runs",
        "out": tmp_path / "outside",
        "round": "round",
        "nothing": "void",
        "up": "..",
        "zero": "/dev/zero",
    }
    for folder in (world.data, world.data / "runs"):
        for name, target in links.items():
            (folder / name).symlink_to(target)
    return world


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=500)
@given(start=STARTS, pieces=st.lists(PIECES, max_size=6), kind=st.sampled_from(["dataset", "model", "file"]))
@example(start="", pieces=["in", "one.zarr"], kind="dataset")
@example(start="", pieces=["out", "theirs.zarr"], kind="dataset")
@example(start="", pieces=["up", "outside", "secret.xyz"], kind="file")
@example(start="", pieces=["up", "root", "hamfit.sqlite"], kind="file")
def test_no_reference_ever_leads_out_of_the_roots(
    maze: Parts, tmp_path: Path, start: str, pieces: list[str], kind: str
) -> None:
    text = start.replace("DATA", str(maze.data)).replace("OUTSIDE", str(tmp_path / "outside")) + "/".join(pieces)
    try:
        found = maze.confinement(kind, text)
    except ReferenceRefused:
        return
    assert found == Path(os.path.realpath(found))
    assert found.is_relative_to(maze.data)
    assert found.is_file() if kind == "file" else found.is_dir()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(text=st.text(max_size=60))
def test_no_text_makes_anything_but_a_refusal(maze: Parts, text: str) -> None:
    try:
        found = maze.confinement("dataset", text)
    except ReferenceRefused:
        return
    assert found.is_relative_to(maze.data)


def test_what_a_job_made_is_found_once_it_has_succeeded(parts: Parts) -> None:
    job = parts.job("simulate")
    dataset(parts.folders.job(job.id).results / "dataset.zarr")
    found = parts.confinement("dataset", f"job:{job.id}")
    assert found == parts.folders.job(job.id).results / "dataset.zarr"
    assert "which makes no model" in refused(parts, f"job:{job.id}", "model")
    assert "which makes no file" in refused(parts, f"job:{job.id}", "file")
    for state in ("accepted", "running"):
        other = parts.job("simulate", state)
        dataset(parts.folders.job(other.id).results / "dataset.zarr")
        assert f"is {state}; what it makes can be used once" in refused(parts, f"job:{other.id}")


def test_what_a_job_made_must_be_there_and_hold_no_way_out(parts: Parts, tmp_path: Path) -> None:
    job = parts.job("simulate")
    results = parts.folders.job(job.id).results
    refused(parts, f"job:{job.id}")
    dataset(tmp_path / "outside")
    (results / "dataset.zarr").symlink_to(tmp_path / "outside")
    refused(parts, f"job:{job.id}")
    (results / "dataset.zarr").unlink()
    dataset(results / "dataset.zarr")
    (results / "dataset.zarr" / "momenta").symlink_to(tmp_path / "outside")
    assert "leads to nothing that jobs may read" in refused(parts, f"job:{job.id}")
    (results / "dataset.zarr" / "momenta").unlink()
    assert parts.confinement("dataset", f"job:{job.id}")
    parts.folders.job(job.id).remove_results()
    assert str(tmp_path) not in refused(parts, f"job:{job.id}")


def test_a_real_dataset_of_a_job_and_of_a_root_opens(parts: Parts) -> None:
    simulate("spring", parts.data / "chain.zarr", shape="3", n_trajectories=1, n_frames=3)
    job = parts.job("simulate")
    simulate("spring", parts.folders.job(job.id).results / "dataset.zarr", shape="3", n_trajectories=1, n_frames=3)
    for text in ("chain.zarr", f"job:{job.id}"):
        assert Dataset.open(parts.confinement("dataset", text)).n_frames == 3


NAMES = ["file.html", "model", "model/c.0"]


def test_a_download_is_beneath_its_folder_or_refused(tmp_path: Path) -> None:
    root = tmp_path / "results"
    (root / "model").mkdir(parents=True)
    for name in ("file.html", "model/c.0", ".hidden"):
        (root / name).write_text("x")
    (tmp_path / "secret").write_text(SECRET)
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "folder").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    for name in NAMES:
        assert open_beneath(root, name) == root / name
    for name in (
        *("", "/", ".", "..", "../secret", "model/../../secret", "/etc/passwd", "link", "folder", "folder/secret"),
        *(".hidden", "pipe", "file.html/", "file.html/x", "model//c.0", "\x00", "a" * 300, "nothing", "%2e%2e/secret"),
        *("model\\c.0", "\ud800"),
    ):
        with pytest.raises(ReferenceRefused, match="see the list"):
            open_beneath(root, name)


def test_a_disk_that_fails_under_a_download_is_not_taken_for_a_missing_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path) -> None:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(Path, "lstat", failing)
    with pytest.raises(DiskError, match="does not answer"):
        open_beneath(tmp_path, "file.html")


def test_a_failing_disk_is_not_taken_for_a_missing_file(world: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(path: Any, *, strict: bool = False) -> Any:
        if strict and str(path).endswith("seen.zarr"):
            raise OSError(5, "Input/output error")
        return real(path, strict=strict)

    real = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", failing)
    with pytest.raises(DiskError, match="the disk does not answer"):
        Confinement((world.data,), world.folders, world.store, world.registry)("dataset", "seen.zarr")
