"""One service for a root and a database, and never another pair."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hamfit.errors import DiskError
from hamfit_service.jobs import ownership
from hamfit_service.jobs.database import Database
from hamfit_service.jobs.folders import Folders
from hamfit_service.jobs.ownership import RootInUse, WrongPartner, claim_root
from hamfit_service.jobs.store import JobStore, Submission

ASKED = Submission("fit", {"data": ["a.zarr"]}, "local")

HOLDER = """
import sys
from pathlib import Path
from hamfit_service.jobs.database import Database
from hamfit_service.jobs.folders import Folders
from hamfit_service.jobs.ownership import claim_root
with claim_root(Folders(Path(sys.argv[1])), Database(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


def held_by_another(root: Path, url: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root), url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "PREDECESSOR_SECONDS", 0.3)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.mark.usefixtures("impatient")
def test_a_second_service_is_refused_with_the_name_of_the_first(root: Path, url: str, empty: Database) -> None:
    with held_by_another(root, url) as other:
        name = rf"another service \(process {other.pid}\) works in"
        with pytest.raises(RootInUse, match=name), claim_root(Folders(root), empty):
            pytest.fail("held twice")
        # not even a kill leaves anything to be tidied up by hand
        other.kill()
    with claim_root(Folders(root), empty):
        pass


def test_a_service_that_is_ending_is_waited_for(root: Path, url: str, empty: Database) -> None:
    with held_by_another(root, url) as other:
        threading.Timer(0.5, other.kill).start()
        began = time.monotonic()
        with claim_root(Folders(root), empty):
            assert 0.3 < time.monotonic() - began < ownership.PREDECESSOR_SECONDS


@pytest.mark.usefixtures("impatient")
def test_a_copy_of_the_root_gets_no_second_service_on_one_postgres(root: Path, postgres_url: str) -> None:
    with held_by_another(root, postgres_url) as other:
        copy = root.with_name("copy")
        shutil.copytree(root, copy)
        database = Database(postgres_url)
        name = "another service works on this database"
        with pytest.raises(RootInUse, match=name), claim_root(Folders(copy), database):
            pytest.fail("held twice")
        other.kill()
    with claim_root(Folders(copy), database):
        pass
    database.close()


def test_a_root_and_its_database_stay_together(root: Path, empty: Database, tmp_path: Path) -> None:
    with claim_root(Folders(root), empty):
        JobStore(empty).submit(ASKED)
        (root / "jobs").mkdir()
    with claim_root(Folders(root), empty):
        pass
    other = Database(f"sqlite:///{tmp_path / 'other.sqlite'}")
    with pytest.raises(WrongPartner, match="holds files of another database"), claim_root(Folders(root), other):
        pytest.fail("a root with two databases")
    with pytest.raises(WrongPartner, match="holds jobs of another root"), claim_root(Folders(tmp_path / "new"), empty):
        pytest.fail("a database with two roots")
    with claim_root(Folders(root), empty):
        pass


def test_a_start_that_was_cut_short_between_both_ids_is_mended(root: Path, empty: Database, tmp_path: Path) -> None:
    with claim_root(Folders(root), empty):
        (root / "root-id").unlink()
    with claim_root(Folders(root), empty):
        assert (root / "root-id").read_text().strip()
    other = Database(f"sqlite:///{tmp_path / 'other.sqlite'}")
    with claim_root(Folders(root), other):
        pass


def test_a_root_that_cannot_be_made_is_named(tmp_path: Path, empty: Database) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="root"), claim_root(Folders(tmp_path / "file" / "root"), empty):
        pytest.fail("held nothing")
