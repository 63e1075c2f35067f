"""Downloads: whole or not there, and nothing outside of their folder."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from doubles import JOB, Broken, Script, archive, store

from hamfit.errors import DiskError, StoreError
from hamfit_service.client import AsyncClient, BadAnswer, Client, NotFound, ServerAway
from hamfit_service.client import requests as client_requests

ID = JOB["id"]
MODEL = archive(("model/zarr.json", b"{}"), ("model/c/0", bytes(3_000_000)), ("model/_manifest.json", b"{}"))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_requests, "_FIRST_PAUSE_SECONDS", 0.001)


def client(script: Script) -> Client:
    return Client("http://server", transport=script, retry_seconds=1.0)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def special(kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo("model/pipe")
    info.type = kind
    return info


def test_an_archive_becomes_the_folder(tmp_path: Path) -> None:
    with client(Script(store(MODEL))) as server:
        assert server.download(ID, tmp_path / "below" / "m") == tmp_path / "below" / "m"
    assert names(tmp_path) == ["below/m/_manifest.json", "below/m/c/0", "below/m/zarr.json"]
    assert (tmp_path / "below" / "m" / "c" / "0").stat().st_size == 3_000_000


def test_the_asynchronous_client_downloads_too(tmp_path: Path) -> None:
    async def run() -> None:
        async with AsyncClient("http://server", transport=Script(store(MODEL))) as server:
            await server.download(ID, tmp_path / "m")

    asyncio.run(run())
    assert names(tmp_path / "m") == ["_manifest.json", "c/0", "zarr.json"]


@pytest.mark.parametrize("shown", [10, 512, 700, 1_000_000])
def test_a_download_that_breaks_is_begun_anew(tmp_path: Path, shown: int) -> None:
    whole = store(MODEL)
    script = Script(whole, httpx.Response(200, stream=Broken(MODEL[:shown])), whole)
    with client(script) as server:
        server.download(ID, tmp_path / "m")
    assert names(tmp_path) == ["m/_manifest.json", "m/c/0", "m/zarr.json"]


def test_a_download_that_never_ends_well_leaves_nothing(tmp_path: Path) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/results"):
            return store(MODEL)(request)
        return httpx.Response(200, stream=Broken(MODEL[:5000]))

    with client(Script(broken)) as server, pytest.raises(ServerAway):
        server.download(ID, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "body",
    [
        archive(("model/../../evil", b"x")),
        archive(("/model/evil", b"x"), ("model/../../../evil", b"x")),
        archive(("evil", b"x")),
        archive(("model/a", b"x"), link("model/evil", "/etc/passwd", tarfile.SYMTYPE)),
        archive(link("model/evil", "../../evil", tarfile.SYMTYPE), ("model/evil", b"x")),
        archive(("model/a", b"x"), link("model/evil", "model/a", tarfile.LNKTYPE)),
        archive(special(tarfile.FIFOTYPE)),
        archive(special(tarfile.CHRTYPE)),
        MODEL[: len(MODEL.rstrip(b"\0")) // 512 * 512 + 512],
        MODEL[:1_000_000],
        b"<html>not a tar</html>" * 100,
        b"",
    ],
    ids=["up", "by root", "beside", "link", "through a link", "hard link", "fifo", "device", "no end", "cut", "page",
         "nothing"],
)  # fmt: skip
def test_an_archive_that_is_damaged_or_leads_elsewhere_leaves_nothing(tmp_path: Path, body: bytes) -> None:
    place = tmp_path / "deep" / "down"
    place.mkdir(parents=True)
    with client(Script(store(body))) as server, pytest.raises(BadAnswer, match="damaged or unsafe"):
        server.download(ID, place / "m")
    assert names(tmp_path) == []
    assert list(place.iterdir()) == []


def test_members_cannot_be_made_executable_or_owned_by_others(tmp_path: Path) -> None:
    info = tarfile.TarInfo("model/run")
    info.mode, info.uid = 0o6777, 0
    with client(Script(store(archive(info)))) as server:
        server.download(ID, tmp_path / "m")
    assert (tmp_path / "m" / "run").stat().st_mode & 0o6022 == 0


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "thesis.tex").write_text("precious")
    with client(Script(store(MODEL))) as server:
        for overwrite in (False, True):
            with pytest.raises(StoreError, match="m: "):
                server.download(ID, tmp_path / "m", overwrite=overwrite)
    assert names(tmp_path) == ["m/thesis.tex"]


def test_a_store_is_replaced_only_when_that_is_asked_for(tmp_path: Path) -> None:
    with client(Script(store(MODEL))) as server:
        server.download(ID, tmp_path / "m")
        (tmp_path / "m" / "old").touch()
        with pytest.raises(StoreError, match="something is there already"):
            server.download(ID, tmp_path / "m")
        server.download(ID, tmp_path / "m", overwrite=True)
    assert names(tmp_path / "m") == ["_manifest.json", "c/0", "zarr.json"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with client(Script(store(MODEL))) as server, pytest.raises(DiskError):
        server.download(ID, tmp_path / "m")


def test_a_disk_that_fails_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "makefile", full)
    with client(Script(store(MODEL))) as server, pytest.raises(DiskError, match="the disk is full"):
        server.download(ID, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_not_there_is_said_with_what_there_is(tmp_path: Path) -> None:
    with client(Script(store(MODEL))) as server, pytest.raises(NotFound, match=r"no 'report.html'; it has model"):
        server.download(ID, tmp_path / "m", name="report.html")


def test_arrays_that_would_run_code_are_refused() -> None:
    file = io.BytesIO()
    np.savez(file, evil=np.array([print], dtype=object), allow_pickle=True)
    for body in (file.getvalue(), b"\x80\x04N.", b"nonsense", b""):
        with client(Script(httpx.Response(200, content=body))) as server, pytest.raises(BadAnswer, match="arrays"):
            server.trajectory(ID, "run-0")


def test_the_clean_up_also_follows_an_interrupt(tmp_path: Path) -> None:
    def interrupted(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/results"):
            return store(MODEL)(request)

        class Interrupted(httpx.SyncByteStream):
            def __iter__(self) -> Iterator[bytes]:
                yield MODEL[:100_000]
                raise KeyboardInterrupt

        return httpx.Response(200, stream=Interrupted())

    with client(Script(interrupted)) as server, pytest.raises(KeyboardInterrupt):
        server.download(ID, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []
