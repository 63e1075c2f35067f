"""Published models: versions in order, files that never change, and no half of anything after a crash."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest
from parts import Parts
from sqlalchemy.orm import Session

from hamfit.errors import SpecError, StoreError
from hamfit.model import Model
from hamfit_service.jobs.folders import Folders
from hamfit_service.jobs.rows import WrongState
from hamfit_service.registry.models import ModelDamaged, ModelNotFound, ModelRegistry

Change = Callable[[Path], object]


def test_a_fit_gets_the_versions_one_two_three(parts: Parts, chain: Path) -> None:
    jobs = [parts.fit(chain) for _ in range(3)]
    documents = [parts.registry.publish("liquid", job, "ann") for job in jobs]
    assert [document.version for document in documents] == [1, 2, 3]
    assert [document.job for document in documents] == [job.id for job in jobs]
    assert parts.registry.newest("liquid") == 3
    assert parts.registry.get("liquid").reference == "liquid@3"
    assert parts.registry.get("liquid", 1) == documents[0]
    assert parts.registry.published(jobs[1].id) == "liquid@2"


def test_what_is_published_opens_as_the_same_model(parts: Parts, chain: Path) -> None:
    parts.registry.publish("liquid", parts.fit(chain), "ann")
    published, fitted = Model.open(parts.registry.path("liquid", 1)), Model.open(chain)
    assert all((a == b).all() for a, b in zip(published.theta, fitted.theta, strict=True))


def test_lineage_and_summary_are_those_of_the_model(parts: Parts, chain: Path) -> None:
    document = parts.registry.publish("liquid", parts.fit(chain), "ann")
    provenance = Model.open(chain).provenance
    assert document.lineage["data"] == provenance["data"]
    assert document.lineage["data"][0]["digest"]
    for name in ("options", "versions", "fingerprint"):
        assert document.lineage[name] == provenance[name]
    for name in ("rank", "condition", "train", "held_out", "rows", "warnings"):
        assert document.summary[name] == provenance["report"][name]
    assert "report" not in document.lineage


def test_the_same_job_under_the_same_name_is_published_once(parts: Parts, chain: Path) -> None:
    job = parts.fit(chain)
    first = parts.registry.publish("liquid", job, "ann")
    assert parts.registry.publish("liquid", job, "bob") == first
    other = parts.registry.publish("water", job, "ann")
    assert (other.name, other.version, other.digest) == ("water", 1, first.digest)
    assert len(parts.registry.page().models) == 2


def test_threads_that_publish_at_once_get_every_version_once(parts: Parts, chain: Path) -> None:
    jobs = [parts.fit(chain) for _ in range(7)]
    barrier = Barrier(14)

    def publish(number: int) -> tuple[str, int]:
        barrier.wait()
        document = parts.registry.publish("liquid", jobs[number % 7], "ann")
        return document.job, document.version

    with ThreadPoolExecutor(14) as pool:
        made = list(pool.map(publish, range(14)))
    assert len(set(made)) == 7
    assert sorted({version for _, version in made}) == [1, 2, 3, 4, 5, 6, 7]


def test_two_registries_on_one_database_do_not_give_a_version_twice(parts: Parts, chain: Path) -> None:
    jobs = [parts.fit(chain) for _ in range(6)]
    registries = [ModelRegistry(parts.database, parts.folders) for _ in jobs]
    with ThreadPoolExecutor(6) as pool:
        made = pool.map(lambda pair: pair[0].publish("liquid", pair[1], "ann"), zip(registries, jobs, strict=True))
    assert sorted(document.version for document in made) == [1, 2, 3, 4, 5, 6]


def test_published_files_cannot_be_written(parts: Parts, chain: Path) -> None:
    parts.registry.publish("liquid", parts.fit(chain), "ann")
    files = [path for path in parts.registry.path("liquid", 1).rglob("*") if path.is_file()]
    assert files
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o444}


def test_a_published_model_outlives_the_results_of_its_job(parts: Parts, chain: Path) -> None:
    job = parts.fit(chain)
    document = parts.registry.publish("liquid", job, "ann")
    parts.folders.job(job.id).remove_results()
    assert parts.registry.publish("liquid", job, "ann") == document
    assert Model.open(parts.registry.path("liquid", 1))


def _flip(model: Path) -> None:
    chunk = next(path for path in sorted(model.rglob("c*")) if path.is_file())
    content = bytearray(chunk.read_bytes())
    content[0] ^= 1
    chunk.chmod(0o644)
    chunk.write_bytes(content)


def _flip_quietly(model: Path) -> None:
    """The size and the time of writing stay as they were."""
    chunk = next(path for path in sorted(model.rglob("c*")) if path.is_file())
    before = chunk.stat()
    _flip(model)
    os.utime(chunk, ns=(before.st_atime_ns, before.st_mtime_ns))


def _link(model: Path) -> None:
    manifest = model / "_manifest.json"
    moved = model.parent.parent.parent / "elsewhere.json"
    manifest.rename(moved)
    manifest.symlink_to(moved)


TAMPERED: dict[str, Change] = {
    "a bit of a chunk": _flip,
    "a bit of a chunk, dated back": _flip_quietly,
    "a file removed": lambda model: (model / "_manifest.json").unlink(),
    "a file added": lambda model: (model / "more.json").write_text("{}"),
    "a file renamed": lambda model: (model / "zarr.json").rename(model / "zarr.jsn"),
    "a file made a link": _link,
    "a pipe added": lambda model: os.mkfifo(model / "pipe"),
    "all gone": lambda model: model.rename(model.with_name("gone")),
}


@pytest.mark.parametrize("change", TAMPERED.values(), ids=TAMPERED)
@pytest.mark.parametrize("looked_before", [False, True])
def test_a_model_whose_files_were_changed_is_refused(
    parts: Parts, chain: Path, change: Change, looked_before: bool
) -> None:
    parts.registry.publish("liquid", parts.fit(chain), "ann")
    registry = parts.registry if looked_before else ModelRegistry(parts.database, parts.folders)
    folder = parts.folders.model("liquid", parts.registry.get("liquid").job)
    change(folder)
    for ask in (registry.get, registry.path):
        with pytest.raises(ModelDamaged, match=r"liquid@1 is not what was published.*another name") as caught:
            ask("liquid", 1)
        assert str(parts.folders.root) not in str(caught.value)


def test_a_model_put_back_is_taken_again(parts: Parts, chain: Path) -> None:
    parts.registry.publish("liquid", parts.fit(chain), "ann")
    manifest = parts.registry.path("liquid", 1) / "_manifest.json"
    content = manifest.read_bytes()
    manifest.chmod(0o644)
    manifest.write_bytes(content + b" ")
    with pytest.raises(ModelDamaged):
        parts.registry.get("liquid")
    manifest.write_bytes(content)
    assert parts.registry.get("liquid").version == 1


CRASHING = """
import os, sys
from pathlib import Path
from hamfit_service.jobs.database import Database
from hamfit_service.jobs.folders import Folders
from hamfit_service.registry.models import ModelRegistry
import hamfit_service.registry.copies as copies
root, job, left = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
real = copies.shutil.copyfile
def copyfile(source, target):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), 9)
    return real(source, target)
copies.shutil.copyfile = copyfile
folders = Folders(root)
ModelRegistry(Database(f"sqlite:///{root}/hamfit.sqlite"), folders).prepare("liquid", folders.job(job), job)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("copied", [1, 3, 1_000], ids=["at the first file", "at the third", "before the commit"])
def test_a_crash_while_publishing_leaves_nothing_to_see_and_is_repeated(parts: Parts, chain: Path, copied: int) -> None:
    job = parts.fit(chain)
    command = [sys.executable, "-c", CRASHING, str(parts.folders.root), job.id, str(copied)]
    assert subprocess.run(command, timeout=60, check=False).returncode == -9
    assert parts.registry.newest("liquid") is None
    assert parts.registry.page().models == []
    with pytest.raises(ModelNotFound):
        parts.registry.get("liquid")
    assert parts.registry.publish("liquid", job, "ann").version == 1
    assert [path.name for path in (parts.folders.models / "liquid").iterdir()] == [job.id]


def test_what_a_crash_left_of_another_model_is_not_published(parts: Parts, chain: Path) -> None:
    job = parts.fit(chain)
    left = parts.registry.prepare("liquid", parts.folders.job(job.id), job.id)
    _flip(left.path)
    document = parts.registry.publish("liquid", job, "ann")
    assert document.digest == left.digest
    assert Model.open(parts.registry.path("liquid", 1))


def test_a_transaction_that_fails_gives_no_version(parts: Parts, chain: Path) -> None:
    job = parts.fit(chain, "running")
    prepared = parts.registry.prepare("liquid", parts.folders.job(job.id), job.id)

    def insert_and_fail(session: Session, now: datetime) -> None:
        parts.registry.insert(session, now, prepared, "ann")
        raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        parts.store.succeed(job.id, {}, insert_and_fail)
    assert parts.registry.newest("liquid") is None
    parts.store.succeed(job.id, {}, partial(parts.registry.insert, prepared=prepared, owner="ann"))
    assert parts.registry.get("liquid").version == 1


def test_preparing_again_changes_no_file(parts: Parts, chain: Path) -> None:
    job = parts.fit(chain)
    first = parts.registry.prepare("liquid", parts.folders.job(job.id), job.id)
    before = {path: path.stat().st_ino for path in first.path.rglob("*")}
    assert parts.registry.prepare("liquid", parts.folders.job(job.id), job.id) == first
    assert {path: path.stat().st_ino for path in first.path.rglob("*")} == before


@pytest.mark.parametrize(
    "name", ["", "Liquid", "../up", "a/b", ".hidden", "a.", "a" * 65, "a b", "liquid\n", "l@1", "ä"]
)
def test_what_is_no_name_is_refused(parts: Parts, chain: Path, name: str) -> None:
    job = parts.fit(chain)
    with pytest.raises(SpecError, match="is no name for a model"):
        parts.registry.publish(name, job, "ann")
    with pytest.raises(SpecError, match="is no name for a model"):
        parts.registry.prepare(name, parts.folders.job(job.id), job.id)
    assert not parts.folders.models.exists()


@pytest.mark.parametrize("job_id", ["", "..", "../../0123456789abcdef", "0123456789ABCDEF", "0123456789abcdef\n"])
def test_what_is_no_job_is_refused(parts: Parts, job_id: str) -> None:
    with pytest.raises(SpecError, match="is no name of a job"):
        parts.registry.prepare("liquid", parts.folders.job("0" * 16), job_id)


def test_a_job_without_a_model_cannot_be_published(parts: Parts, chain: Path) -> None:
    with pytest.raises(SpecError, match="is a simulate and makes no model"):
        parts.registry.publish("liquid", parts.job("simulate"), "ann")
    with pytest.raises(WrongState, match="is running; a model can be published once"):
        parts.registry.publish("liquid", parts.fit(chain, "running"), "ann")
    with pytest.raises(StoreError, match="does not exist"):
        parts.registry.publish("liquid", parts.job("fit"), "ann")
    assert parts.registry.page().models == []


def test_a_damaged_model_or_one_with_links_is_not_published(parts: Parts, chain: Path, tmp_path: Path) -> None:
    damaged, linked = parts.fit(chain), parts.fit(chain)
    _flip(parts.folders.job(damaged.id).results / "model")
    (tmp_path / "secret").write_text("secret")
    (parts.folders.job(linked.id).results / "model" / "more").symlink_to(tmp_path / "secret")
    for job in (damaged, linked):
        with pytest.raises(StoreError):
            parts.registry.publish("liquid", job, "ann")
    assert parts.registry.newest("liquid") is None


def test_pages_go_from_the_newest_on_and_miss_nothing(parts: Parts, chain: Path) -> None:
    now = datetime.now(UTC)
    for number in range(5):
        job = parts.fit(chain)
        prepared = parts.registry.prepare("liquid" if number % 2 else "water", parts.folders.job(job.id), job.id)
        with parts.database.writing() as session:
            # two at the same time, as on a database with a coarse clock
            parts.registry.insert(session, now if number else datetime(2020, 1, 1, tzinfo=UTC), prepared, "ann")
    seen, after = [], None
    while True:
        page = parts.registry.page(limit=2, after=after)
        seen += [model.reference for model in page.models]
        after = page.next
        if after is None:
            break
    assert seen == ["water@3", "water@2", "liquid@2", "liquid@1", "water@1"]
    assert [model.reference for model in parts.registry.page(name="liquid").models] == ["liquid@2", "liquid@1"]


@pytest.mark.parametrize("after", ["", "liquid", "liquid@0", "liquid@1", "liquid@x", "@1", "liquid@" + "9" * 50])
def test_a_page_after_no_model_is_refused(parts: Parts, after: str) -> None:
    with pytest.raises(ModelNotFound, match=re.escape("see the list of models")):
        parts.registry.page(after=after)


def test_an_unknown_model_is_not_found(parts: Parts, chain: Path) -> None:
    parts.registry.publish("liquid", parts.fit(chain), "ann")
    for name, version in (("water", None), ("liquid", 2), ("../root", None)):
        with pytest.raises(ModelNotFound, match="there is no model"):
            parts.registry.get(name, version)


def test_the_folder_of_a_model_is_that_of_the_plan(parts: Parts, chain: Path) -> None:
    job = parts.fit(chain)
    parts.registry.publish("liquid", job, "ann")
    assert parts.registry.path("liquid", 1) == Folders(parts.folders.root).model("liquid", job.id)
