"""A real `hamfit serve` in a process of its own, for tests that talk to it or kill it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

COMMAND = Path(sys.executable).with_name("hamfit")
FINAL = ("succeeded", "failed", "dismissed")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Served:
    """A service on a port of its own; it can be killed and started again."""

    def __init__(self, root: Path, data_root: Path, *flags: str, environment: dict[str, str] | None = None) -> None:
        self.root, self.data_root, self.flags = root, data_root, flags
        self.environment = environment or {}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.log = root.parent / f"{root.name}.log"
        self.http = httpx.Client(base_url=self.url, timeout=10.0)

    def start(self) -> None:
        """Start it, and return once it answers."""
        command = [str(COMMAND), "serve", "--root", str(self.root), "--data-root", str(self.data_root)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port), *self.flags],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
        self.wait_until(lambda: self.http.get("/healthz").status_code == 200, 60.0)

    def kill(self) -> None:
        """Kill it as the kernel does when memory is short: no goodbye."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=30.0)

    def stop(self) -> int:
        """End it as `systemctl stop` does, and return its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60.0)

    def wait_until(self, true: Any, seconds: float) -> None:
        """Wait for a predicate, which may fail while the service is away."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if true():
                    return
            except httpx.HTTPError:
                pass
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the service ended with {self.process.returncode}:\n{self.tail()}")
            time.sleep(0.05)
        raise AssertionError(f"not true after {seconds} s; the service's log ends:\n{self.tail()}")

    def tail(self, characters: int = 4000) -> str:
        """The end of its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-characters:]

    def submit(self, process: str, inputs: dict[str, Any], key: str | None = None) -> str:
        """Submit a job and return its id."""
        headers = {} if key is None else {"Idempotency-Key": key}
        answer = self.http.post(f"/v1/processes/{process}/execution", json=inputs, headers=headers)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """The document of a job."""
        answer = self.http.get(f"/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def finished(self, job_id: str, seconds: float = 120.0) -> dict[str, Any]:
        """The document of a job once it is final."""
        self.wait_until(lambda: self.job(job_id)["status"] in FINAL, seconds)
        return self.job(job_id)

    def children(self, words: str) -> list[psutil.Process]:
        """Processes under the service whose command line has these words."""
        assert self.process is not None
        found = []
        try:
            family = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        for child in family:
            try:
                if words in " ".join(child.cmdline()):
                    found.append(child)
            except psutil.Error:
                continue
        return found


@contextmanager
def serving(root: Path, data_root: Path, *flags: str, environment: dict[str, str] | None = None) -> Iterator[Served]:
    """A running service, ended at the end of the block with everything it began."""
    served = Served(root, data_root, *flags, environment=environment)
    try:
        served.start()
        yield served
    finally:
        served.http.close()
        if served.process is not None:
            family = served.children("")
            try:
                served.stop()
            except subprocess.TimeoutExpired:
                served.kill()
            for child in family:
                try:
                    child.kill()
                except psutil.NoSuchProcess:
                    continue
