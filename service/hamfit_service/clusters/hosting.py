"""The process that hosts a cluster: `python -m hamfit_service.clusters.hosting`, begun by a `HostedCluster`.

It reads one JSON line that says what to start, answers with one that says how to reach it, and lives until its
standard input ends, which happens when the service stops and also when the service is killed. Then it ends its whole
session at once: workers, nannies, itself. Tasks that would be in the way of a gentle end cannot delay this one.

The traffic is encrypted with certificates made anew each time, in a folder that only this user can read: on a machine
with several users, a plain port on the loopback interface would let any of them run programs as this one.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

import psutil

_LOOK_SECONDS = 1.0
_WITHOUT_WORKERS_SECONDS = 60.0
_END_SECONDS = 2.0


def main() -> None:
    """Host a cluster until nobody wants it any more."""
    # what libraries print goes to standard error, the service's log
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    line = sys.stdin.readline()
    if not line:
        return
    task = json.loads(line)
    threading.Thread(target=_end_with_input, args=(task["scratch"],), daemon=True).start()
    try:
        with ExitStack() as stack:
            cluster = _begin(task, stack)
            _answer(answers, _reached(cluster, Path(task["scratch"])))
            _wait_while_alive(cluster)
            # leaving the block would close what is left of the cluster gently, and wait for it
            end_session(task["scratch"])
    except Exception as error:
        _answer(answers, {"error": f"the {task['kind']} cluster does not start ({error})"})
        raise
    finally:
        end_session(task["scratch"])


def _begin(task: Mapping[str, Any], stack: ExitStack) -> Any:
    import dask
    from distributed import LocalCluster, Security

    from hamfit_service.clusters.gpus import GpuOptions, cuda_cluster
    from hamfit_service.clusters.local import ONE_THREAD_ENVIRONMENT, environment, local_options, worker_settings

    scratch, workers, threads = task["scratch"], task["workers"], task["threads"]
    stack.enter_context(dask.config.set(worker_settings(scratch)))
    stack.enter_context(environment(ONE_THREAD_ENVIRONMENT))
    gpus = None if task["gpus"] is None else GpuOptions.build(task["gpus"])
    # UCX has no certificates, which is why nobody gets it who has not asked for it
    secret = {} if gpus is not None and gpus.gpu_ucx else {"security": Security.temporary(), "protocol": "tls://"}
    if gpus is not None:
        return stack.enter_context(cuda_cluster(scratch, workers, threads, gpus, **secret))
    return stack.enter_context(
        LocalCluster(processes=True, n_workers=workers, threads_per_worker=threads, **local_options(scratch), **secret)
    )


def _reached(cluster: Any, scratch: Path) -> dict[str, Any]:
    """The answer: how to reach the cluster, with the certificates written for those who may."""
    security = cluster.security
    connection = {"address": cluster.scheduler_address}
    contents = {}
    if connection["address"].startswith("tls://"):
        contents = {
            "tls_ca": security.tls_ca_file,
            "tls_cert": security.tls_client_cert,
            "tls_key": security.tls_client_key,
        }
    for name, content in contents.items():
        path = scratch / f"{name}.pem"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(content)
        connection[name] = str(path)
    # without bokeh there are only numbers at that port, and no page
    return {"connection": connection, "dashboard": cluster.dashboard_link if find_spec("bokeh") else None}


def _wait_while_alive(cluster: Any) -> None:
    """Returns when the scheduler has been closed, or when its nannies have given all workers up."""
    from distributed.core import Status

    seen = time.monotonic()
    while cluster.scheduler.status == Status.running and time.monotonic() - seen < _WITHOUT_WORKERS_SECONDS:
        time.sleep(_LOOK_SECONDS)
        if cluster.scheduler.workers:
            seen = time.monotonic()


def _end_with_input(scratch: str) -> None:
    while sys.stdin.readline():
        continue
    end_session(scratch)


def end_session(scratch: str) -> None:
    """Kill every process that this one began, and then this one; leave no file."""
    # nannies would complain of what happens next, and nobody need read it
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    children = psutil.Process().children(recursive=True)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    # who still writes would keep the folder from being removed
    psutil.wait_procs(children, timeout=_END_SECONDS)
    shutil.rmtree(scratch, ignore_errors=True)
    # whatever was begun in between is of the same session
    os.killpg(os.getpid(), signal.SIGKILL)


def _answer(answers: TextIO, message: Mapping[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
