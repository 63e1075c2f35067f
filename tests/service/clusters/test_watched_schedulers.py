"""A scheduler that others run: reached with certificates, told apart from the one before it, never waited for long."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from hamfit.errors import ClusterError, SpecError
from hamfit_service.clusters import connection as rooms
from hamfit_service.clusters import watched
from hamfit_service.clusters.dashboard import dashboard_link
from hamfit_service.clusters.glance import Glance
from hamfit_service.clusters.host import choose_host, connect
from hamfit_service.clusters.hosted import HostedCluster
from hamfit_service.clusters.watched import SchedulerHost
from hamfit_service.settings import Settings
from watching import until

DASK = Path(sys.executable).with_name("dask")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def flags(certificates: dict[str, Path], role: str) -> list[str]:
    names = {"--tls-ca-file": "ca.pem", "--tls-cert": f"{role}.pem", "--tls-key": f"{role}.key"}
    return [word for flag, name in names.items() for word in (flag, str(certificates[name]))]


@contextmanager
def process(*words: str, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    running = subprocess.Popen([str(DASK), *words], cwd=cwd, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


@contextmanager
def scheduler(port: int, certificates: dict[str, Path] | None, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    secure = [] if certificates is None else ["--protocol", "tls", *flags(certificates, "scheduler")]
    words = ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard", *secure]
    with process(*words, cwd=cwd) as running:
        yield running


def service_certificates(certificates: dict[str, Path]) -> dict[str, Path | None]:
    return {
        "tls_ca": certificates["ca.pem"],
        "tls_cert": certificates["service.pem"],
        "tls_key": certificates["service.key"],
    }


NONE: dict[str, Path | None] = {"tls_ca": None, "tls_cert": None, "tls_key": None}


@pytest.mark.faults
def test_a_scheduler_that_is_replaced_is_another_generation(certificates: dict[str, Path], tmp_path: Path) -> None:
    port = free_port()

    async def work() -> None:
        host = SchedulerHost(f"tls://127.0.0.1:{port}", service_certificates(certificates))
        await host.start()
        with pytest.raises(ClusterError, match="no Dask scheduler answers"):
            host.connection()
        with scheduler(port, certificates, tmp_path):
            await until(lambda: host.address)
            assert (host.generation, (await host.state()).alive) == (0, True)
        await until(lambda: host.address is None)
        assert host.generation == 1
        with scheduler(port, certificates, tmp_path):
            await until(lambda: host.address)
            assert host.generation == 1
        await host.stop()
        assert host.address is None

    uvloop.run(work())


def test_that_nothing_listens_is_known_at_every_look() -> None:
    async def work() -> list[bool]:
        glance, found = Glance(), []
        for _ in range(4):
            assert await glance.identity({"address": f"tcp://127.0.0.1:{free_port()}"}, fresh=True) is None
            found.append(glance.refused)
        return found

    assert asyncio.run(work()) == [True] * 4


def test_tasks_run_on_its_workers_with_tls(certificates: dict[str, Path], tmp_path: Path) -> None:
    port = free_port()
    address = f"tls://127.0.0.1:{port}"

    async def work() -> None:
        host = SchedulerHost(address, service_certificates(certificates))
        await host.start()
        with ExitStack() as stack:
            stack.enter_context(scheduler(port, certificates, tmp_path))
            words = ["worker", address, "--no-nanny", "--nthreads", "3", "--no-dashboard"]
            stack.enter_context(process(*words, *flags(certificates, "worker"), cwd=tmp_path))
            await until(lambda: host.address)

            def add() -> int:
                with connect(host.connection()) as client:
                    return int(client.submit(sum, [3, 5]).result(timeout=60))

            assert await asyncio.to_thread(add) == 8

            async def is_told() -> bool:
                state = await host.state()
                return (state.kind, state.workers, state.threads) == ("scheduler", 1, 3)

            await until(is_told, 5.0)
            # the scheduler is not ours: it outlives our client
            assert await asyncio.to_thread(add) == 8
        await host.stop()

    asyncio.run(work())


def test_a_certificate_of_another_authority_is_no_way_in(
    certificates: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "CONNECT_SECONDS", 1.0)
    script = Path(__file__).parents[3] / "deploy" / "certificates"
    subprocess.run([sys.executable, str(script), str(tmp_path / "others")], check=True, stdout=subprocess.DEVNULL)
    others = {path.name: path for path in (tmp_path / "others").iterdir()}
    port = free_port()

    async def work() -> None:
        right = SchedulerHost(f"tls://127.0.0.1:{port}", service_certificates(certificates))
        wrong = SchedulerHost(f"tls://127.0.0.1:{port}", service_certificates(others))
        with scheduler(port, certificates, tmp_path):
            await until(lambda: _alive(right))
            assert not (await wrong.state()).alive
            connection = {"address": f"tls://127.0.0.1:{port}"}
            connection |= {name: str(path) for name, path in service_certificates(others).items()}

            def intrude() -> None:
                with pytest.raises(ClusterError, match="whether its certificates are these"), connect(connection):
                    pytest.fail("let in")

            await asyncio.to_thread(intrude)
        await right.stop()
        await wrong.stop()

    asyncio.run(work())


async def _alive(host: SchedulerHost) -> bool:
    await asyncio.sleep(0.3)
    return (await host.state()).alive


def test_a_port_that_never_answers_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "LOOK_SECONDS", 0.05)

    async def work() -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            host = SchedulerHost(f"tcp://127.0.0.1:{silent.getsockname()[1]}", NONE)
            began = time.monotonic()
            states = await asyncio.gather(*(host.state() for _ in range(50)))
            assert time.monotonic() - began < 4.0
            assert not any(state.alive for state in states)
            await host.stop()

    asyncio.run(work())


def test_a_scheduler_that_is_only_slow_loses_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[dict[str, str] | None] = [{"id": "a"}, None, None, {"id": "a"}, {"id": "b"}]
    seen: list[tuple[str | None, int]] = []

    async def work() -> None:
        monkeypatch.setattr(watched, "LOOK_SECONDS", 0.0)
        host = SchedulerHost("tcp://127.0.0.1:1", NONE)

        async def answer(connection: object, *, fresh: bool = False) -> dict[str, str] | None:
            if len(answers) < 5:
                seen.append((host.address, host.generation))
            if not answers:
                await asyncio.sleep(60)
            return answers.pop(0)

        monkeypatch.setattr(host._glance, "identity", answer)
        await host.start()
        await until(lambda: len(seen) == 5)
        await host.stop()

    asyncio.run(work())
    here = "tcp://127.0.0.1:1"
    assert seen == [(here, 0), (here, 0), (here, 0), (here, 0), (here, 1)]


@pytest.mark.parametrize(
    ("word", "shown"), [("--dashboard", True), ("--no-dashboard", False)], ids=["with one", "without"]
)
def test_the_dashboard_is_linked_where_there_is_one(word: str, shown: bool, tmp_path: Path) -> None:
    pytest.importorskip("bokeh")
    port, pages = free_port(), free_port()
    words = ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--dashboard-address", f"127.0.0.1:{pages}", word]

    async def work() -> None:
        host = SchedulerHost(f"tcp://127.0.0.1:{port}", NONE)
        await host.start()
        with process(*words, cwd=tmp_path):
            await until(lambda: host.address)
            assert (await host.state()).dashboard == (f"http://127.0.0.1:{pages}/status" if shown else None)
        await until(lambda: host.address is None)
        assert (await host.state()).dashboard is None
        await host.stop()

    uvloop.run(work())


@pytest.mark.parametrize(
    "identity", [{}, {"services": {}}, {"services": {"dashboard": 1}}, {"services": {"dashboard": None}}]
)
def test_a_dashboard_that_cannot_be_reached_is_none(identity: dict[str, Any]) -> None:
    assert asyncio.run(dashboard_link("tls://127.0.0.1:8786", identity)) is None


def test_a_look_that_fails_in_an_unforeseen_way_is_one_look_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        monkeypatch.setattr(watched, "LOOK_SECONDS", 0.0)
        host = SchedulerHost("tcp://127.0.0.1:1", NONE)
        answers: list[dict[str, str] | Exception] = [LookupError("a surprise"), {"id": "a"}]

        async def answer(connection: object, *, fresh: bool = False) -> dict[str, str]:
            if not answers:
                await asyncio.sleep(60)
            found = answers.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr(host._glance, "identity", answer)
        await host.start()
        await until(lambda: host.address)
        answers[:] = [LookupError("another")]
        assert not (await host.state()).alive
        await host.stop()

    asyncio.run(work())


def test_settings_choose_the_kind(tmp_path: Path, certificates: dict[str, Path]) -> None:
    local = choose_host(Settings(root=tmp_path, workers=3, threads=2))
    assert isinstance(local, HostedCluster)
    assert local.kind == "local"
    near = choose_host(Settings(root=tmp_path, cluster="tcp://localhost:8786"))
    assert isinstance(near, SchedulerHost)
    far = Settings(root=tmp_path, cluster="tls://dask.example:8786", **service_certificates(certificates))
    assert choose_host(far).kind == "scheduler"


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        ("tcp://10.1.2.3:8786", r"anybody who reaches it could run programs.* give tls_ca, tls_cert and tls_key"),
        ("tcp://dask.example:8786", "start the scheduler with TLS"),
        ("tls://dask.example:8786", "needs certificates; give tls_ca, tls_cert and tls_key"),
        ("slurm", "neither local nor local-cuda nor the address of a scheduler"),
        ("tcp://127.0.0.1", "write tls://HOST:PORT"),
        ("http://127.0.0.1:80", "neither local nor"),
    ],
)
def test_a_cluster_that_cannot_or_must_not_be_used_is_refused(tmp_path: Path, cluster: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        choose_host(Settings(root=tmp_path, cluster=cluster))


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = {name: tmp_path / name for name in NONE}
    with pytest.raises(SpecError, match=r"tls_ca '.*' is not a file"):
        choose_host(Settings(root=tmp_path, cluster="tls://127.0.0.1:1", **missing))


def test_a_runner_is_told_what_keeps_it_from_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(rooms, "WORKERS_SECONDS", 0.5)
    port = free_port()
    there = {"address": f"tcp://127.0.0.1:{port}"}
    with pytest.raises(ClusterError, match="no Dask scheduler answers"), connect(there):
        pytest.fail("connected to nothing")
    monkeypatch.setattr(rooms, "CONNECT_SECONDS", 30.0)
    with scheduler(port, None, tmp_path), pytest.raises(ClusterError, match="has no workers"), connect(there):
        pytest.fail("connected to a scheduler without workers")
