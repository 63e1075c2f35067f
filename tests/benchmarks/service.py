"""What the service costs: beside a running fit, and against the same fit from the command line."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from tests.benchmarks.http_load import Load, run_clients
from tests.benchmarks.records import Case, Value
from tests.benchmarks.study import Study
from tests.serving import Served, serving

from hamfit.systems import simulate
from hamfit_service.client import Client
from hamfit_service.processes.fit import FitInputs

TITLE = "Service"
TEXT = """
**Clients beside a fit.** 200 clients of one service on the machine that also computes the fit: 120 ask for jobs, logs
and models every two seconds on average, 60 listen to the events of the fit, 20 submit small jobs (a quarter of the
requests twice at the same time with one idempotency key) and dismiss four of five. They go on until the fit ends, which
takes more than 60 s. The fit's time is from its beginning to its end as the service records them: three fits without
clients and three with clients, in turns, and their medians. Afterwards every accepted job must be there once and come
to its end. The cores used by service and clients are their processor seconds over the seconds that clients were there.

In one row the fit has one worker of one thread, so that a core of the machine is left to the service and the clients;
in the other it has two, and what clients and service use is taken from it.

**Overhead.** The same fit from the command line (a fresh process, `hamfit fit --threads N`) and as a job, from the
request of `hamfit_service.client` until it hears that the job has succeeded; medians of turns taken one after the
other. A short fit and a longer one tell what the service costs once from what it costs all along.
"""

FIT = {"cutoff": 2.5, "features": 512, "sampler": "elm", "input_map": "1/r", "taper": "none", "solver": "tsqr"}
CLIENTS = 200
TURNS = 3
SEED = 4


def cases(study: Study) -> Iterator[Case]:
    """Time fits with and without clients, and with and without the service."""
    data = study.folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    for frames in (40, 120, 160):
        name = f"{frames}.zarr"
        simulate(
            "lj", data / name, shape="10x10x10", n_trajectories=1, n_frames=frames, every=5, melt_steps=100, seed=3
        )
    for threads in (1, 2):
        yield _beside_a_fit(study.folder, data, threads)
    for frames in (40, 120):
        yield _overhead(study.folder, data, frames)


def _beside_a_fit(folder: Path, data: Path, threads: int) -> Case:
    settings = {"HAMFIT_RUNNING_JOBS": "1", "HAMFIT_QUEUED_JOBS_PER_OWNER": "100000"}
    with _fresh(folder, data, "--workers", "1", "--threads", str(threads), environment=settings) as served:
        inputs = {"data": ["160.zarr"], **FIT}
        served.finished(served.submit("fit", {"data": ["40.zarr"], **FIT}), 600.0)
        fits: dict[str, list[float]] = {"alone": [], "beside": []}
        loads, used, watched = [], np.zeros(2), 0.0
        for turn in range(TURNS):
            fits["alone"].append(_seconds(served.finished(served.submit("fit", inputs), 900.0)))
            began, before = time.perf_counter(), _processor_seconds(served)
            job = served.submit("fit", inputs)
            loads.append(asyncio.run(_clients_until_the_end(served, job, SEED + turn)))
            used += _processor_seconds(served) - before
            watched += time.perf_counter() - began
            fits["beside"].append(_seconds(served.job(job)))
            # what was submitted meanwhile must not run beside the next fit alone
            served.wait_until(lambda: _is_idle(served), 1800.0)
        lost, doubled, wrong = _count_jobs(served, loads)
    alone, beside = (float(np.median(seconds)) for seconds in fits.values())
    service_cores, client_cores = used / watched
    gets = np.array([seconds for load in loads for seconds in load.gets])
    return Case(
        "200 clients beside a running fit",
        "fit on one of the machine's cores" if threads == 1 else f"fit on {threads} cores",
        (
            Value("seconds with clients", round(beside, 2)),
            Value("seconds without", round(alone, 2)),
            Value("fit slowed by", round(beside / alone - 1.0, 4), 0.10),
            Value("p99 of GET, ms", round(1e3 * float(np.quantile(gets, 0.99)), 1), 250.0),
            Value("median of GET, ms", round(1e3 * float(np.median(gets)), 1)),
            Value("GETs", len(gets)),
            Value("events heard", sum(load.events for load in loads)),
            Value("jobs accepted", sum(len(load.accepted) for load in loads)),
            Value("jobs lost", lost, 0),
            Value("jobs doubled", doubled, 0),
            Value("jobs with a wrong end", wrong, 0),
            Value("answers that were errors", sum(len(load.bad) for load in loads), 0),
            Value("cores used by the service", round(float(service_cores), 3)),
            Value("cores used by the clients", round(float(client_cores), 3)),
        ),
    )


def _processor_seconds(served: Served) -> np.ndarray:
    """Of the service, without its cluster and the processes of jobs, and of this process, which is the clients."""
    assert served.process is not None
    times = [psutil.Process(served.process.pid).cpu_times(), psutil.Process().cpu_times()]
    return np.array([each.user + each.system for each in times])


def _is_idle(served: Served) -> bool:
    counts = [served.http.get(f"/v1/jobs?status={state}&limit=1").json()["jobs"] for state in ("accepted", "running")]
    return not any(counts)


async def _clients_until_the_end(served: Served, job: str, seed: int) -> Load:
    until = asyncio.Event()

    async def look() -> None:
        while (await asyncio.to_thread(served.job, job))["status"] in ("accepted", "running"):
            await asyncio.sleep(0.5)
        until.set()

    looking = asyncio.create_task(look())
    load = await run_clients(served.port, job, CLIENTS, seed, until)
    await looking
    return load


def _count_jobs(served: Served, loads: list[Load]) -> tuple[int, int, int]:
    """Accepted jobs that are not there, jobs that nobody asked for or that came twice, ends that are not theirs."""
    accepted = {job for load in loads for jobs in load.accepted.values() for job in jobs}
    dismissed = {job for load in loads for job in load.dismissed}
    doubled = len(accepted) - sum(len(load.accepted) for load in loads)
    there: dict[str, str] = {}
    after = ""
    while True:
        page = served.http.get(f"/v1/jobs?process=simulate&limit=100{after}").json()
        there.update({job["id"]: job["status"] for job in page["jobs"]})
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    wrong = sum(there.get(job) != ("dismissed" if job in dismissed else "succeeded") for job in accepted)
    return len(accepted - set(there)), doubled + len(set(there) - accepted), wrong


def _overhead(folder: Path, data: Path, frames: int) -> Case:
    threads = 2
    inputs = FitInputs.model_validate({"data": [f"{frames}.zarr"], **FIT})
    with (
        _fresh(folder, data, "--workers", "1", "--threads", str(threads)) as served,
        Client(f"http://127.0.0.1:{served.port}") as client,
    ):
        client.wait(client.submit(FitInputs.model_validate({"data": ["40.zarr"], **FIT})).id)
        by_service, by_command = [], []
        for _ in range(3):
            began = time.perf_counter()
            client.wait(client.submit(inputs).id)
            by_service.append(time.perf_counter() - began)
            by_command.append(_command_line(folder, data / f"{frames}.zarr", threads))
    service, command = float(np.median(by_service)), float(np.median(by_command))
    return Case(
        "Overhead",
        f"fit of {frames} frames of 4000 atoms, {threads} threads",
        (
            Value("seconds as a job", round(service, 2)),
            Value("seconds of the command line", round(command, 2)),
            Value("overhead", round(service / command - 1.0, 4), 0.03),
        ),
    )


def _command_line(folder: Path, data: Path, threads: int) -> float:
    flags = [text for name, value in FIT.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    command = [str(Path(sys.executable).with_name("hamfit")), "fit", str(data), *flags]
    began = time.perf_counter()
    subprocess.run(
        [*command, "--threads", str(threads), "--out", str(folder / "by-command.model"), "--json"],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - began


def _fresh(folder: Path, data: Path, *flags: str, environment: dict[str, str] | None = None) -> Any:
    root = folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    return serving(root, data, *flags, environment=environment)


def _seconds(job: dict[str, Any]) -> float:
    assert job["status"] == "succeeded", job["failure"]
    return (datetime.fromisoformat(job["finished_at"]) - datetime.fromisoformat(job["started_at"])).total_seconds()
