"""`hamfit doctor`: can hamfit work here, and how well?

Every check answers by itself and never raises, so that one broken part does not hide the others. CUDA is
asked only where CuPy is installed; elsewhere the driver's device files tell whether there is a GPU.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module, metadata, util
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer

import hamfit
from hamfit_service.cli.console import JsonFlag, format_bytes, print_json

Status: TypeAlias = Literal["ok", "warning", "failure"]

_PACKAGES = (
    "numpy",
    "scipy",
    "numba",
    "dask",
    "distributed",
    "vesin",
    "ase",
    "pydantic",
    "typer",
    "rich",
)
_LITTLE_MEMORY_BYTES = 2 * 1024**3
_LITTLE_DISK_BYTES = 1024**3


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one question about this machine."""

    name: str
    status: Status
    detail: str
    """What was found, and the remedy where it is not well."""
    facts: dict[str, Any]
    """The same for programs."""


def doctor(
    path: Annotated[Path, typer.Option("--path", help="Folder whose disk space is looked at.")] = Path("."),
    as_json: JsonFlag = False,
) -> None:
    """Check versions, cores, memory, BLAS, the compiler's cache, GPUs and disk space."""
    checks = examine(path)
    healthy = all(check.status != "failure" for check in checks)
    if as_json:
        print_json({"healthy": healthy, "checks": {check.name: _without_name(check) for check in checks}})
    else:
        marks = {"ok": "ok     ", "warning": "warning", "failure": "FAILURE"}
        for check in checks:
            typer.echo(f"{marks[check.status]}  {check.name:<9} {check.detail}")
    if not healthy:
        raise typer.Exit(1)


def examine(path: Path) -> list[Check]:
    """All checks, in a fixed order."""
    questions: list[tuple[str, Callable[[], Check]]] = [
        ("versions", _versions),
        ("cores", _cores),
        ("memory", _memory),
        ("blas", _blas),
        ("compiler", _compiler_cache),
        ("gpu", _gpu),
        ("disk", lambda: _disk(path)),
    ]
    return [_asked(name, question) for name, question in questions]


def _asked(name: str, question: Callable[[], Check]) -> Check:
    try:
        return question()
    except Exception as error:  # a check that cannot answer is a finding, not a crash
        return Check(name, "failure", f"cannot be examined: {error}", {"error": str(error)})


def _without_name(check: Check) -> dict[str, Any]:
    return {key: value for key, value in asdict(check).items() if key != "name"}


def _versions() -> Check:
    facts: dict[str, Any] = {"hamfit": hamfit.__version__, "python": platform.python_version()}
    missing = []
    for package in _PACKAGES:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            facts[package] = None
            missing.append(package)
    facts["platform"] = platform.platform()
    if missing:
        return Check("versions", "failure", f"{', '.join(missing)} not installed; run `pip install hamfit`", facts)
    shown = ", ".join(f"{name} {facts[name]}" for name in ("hamfit", "python", "numpy", "numba", "dask"))
    return Check("versions", "ok", shown, facts)


def _cores() -> Check:
    from hamfit.checked_options import available_cores

    usable, present = available_cores(), os.cpu_count() or 1
    return Check("cores", "ok", f"{usable} usable of {present}", {"usable": usable, "present": present})


def _memory() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    facts = {"total_bytes": int(memory.total), "available_bytes": int(memory.available)}
    detail = f"{format_bytes(memory.available)} free of {format_bytes(memory.total)}"
    if memory.available < _LITTLE_MEMORY_BYTES:
        return Check("memory", "warning", f"{detail}; use fewer --threads or --workers", facts)
    return Check("memory", "ok", detail, facts)


def _blas() -> Check:
    from threadpoolctl import threadpool_info

    import_module("numpy")  # loads the BLAS that threadpoolctl then finds

    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    facts = {
        "libraries": [
            {"name": pool["internal_api"], "version": pool["version"], "threads": pool["num_threads"]} for pool in pools
        ]
    }
    if not pools:
        return Check("blas", "warning", "none recognised; install NumPy from wheels for a fast one", facts)
    names = {f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} threads" for pool in pools}
    return Check("blas", "ok", "; ".join(sorted(names)), facts)


def _compiler_cache() -> Check:
    places = _cache_places()
    facts = {"candidates": [str(place) for place in places]}
    for place in places:
        if _is_writable(place):
            return Check("compiler", "ok", f"compiled kernels are kept in {place}", {**facts, "folder": str(place)})
    return Check(
        "compiler",
        "warning",
        "every run compiles its kernels anew; set NUMBA_CACHE_DIR to a writable folder to keep them",
        {**facts, "folder": None},
    )


def _cache_places() -> list[Path]:
    """Where numba keeps compiled functions, in the order in which it tries."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        return [Path(chosen)]
    kernels = Path(hamfit.__file__).parent / "kernels" / "__pycache__"
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "numba"
    return [kernels, user]


def _is_writable(folder: Path) -> bool:
    """Whether a file can be made in `folder`, or in the nearest folder above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _gpu() -> Check:
    from hamfit.devices import choose_device

    driver = Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()
    facts: dict[str, Any] = {"driver": driver, "cupy": None, "devices": [], "device": "cpu"}
    # what a command started here would take; a wrong HAMFIT_DEVICE, or a GPU that it asks for in vain, is a failure
    device = choose_device()
    if device is not None:
        facts["device"] = device.name
    taken = "the processor" if device is None else device.name
    if util.find_spec("cupy") is None:
        if driver:
            detail = f"an NVIDIA driver, but no CuPy; hamfit computes on {taken}; `pip install 'hamfit[gpu]'`"
            return Check("gpu", "warning", detail, facts)
        return Check("gpu", "ok", f"none; hamfit computes on {taken}", facts)
    import cupy

    facts["cupy"] = str(cupy.__version__)
    try:
        for index in range(int(cupy.cuda.runtime.getDeviceCount())):
            properties = cupy.cuda.runtime.getDeviceProperties(index)
            facts["devices"].append(
                {"name": properties["name"].decode(), "total_bytes": int(properties["totalGlobalMem"])}
            )
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return Check("gpu", "warning", f"CuPy finds no usable GPU ({error}); check the driver", facts)
    if facts["devices"] and device is None and (reason := _why_not_cuda()):
        return Check("gpu", "warning", f"{reason}; hamfit computes on {taken}", facts)
    names = ", ".join(f"{found['name']} ({format_bytes(found['total_bytes'])})" for found in facts["devices"])
    return Check("gpu", "ok", f"{names or 'none'}; hamfit computes on {taken}", facts)


def _why_not_cuda() -> str | None:
    """Why a GPU that is there is not taken; None where it would be, and somebody has asked for another device."""
    from hamfit.devices import choose_device
    from hamfit.errors import DeviceError

    try:
        choose_device("cuda")
    except DeviceError as error:
        return str(error)
    return None


def _disk(path: Path) -> Check:
    scratch = Path(tempfile.gettempdir())
    spaces = {"data": path, "scratch": scratch}
    free = {name: shutil.disk_usage(place).free for name, place in spaces.items()}
    facts = {f"{name}_free_bytes": count for name, count in free.items()}
    detail = ", ".join(f"{format_bytes(free[name])} free at {place.resolve()}" for name, place in spaces.items())
    if not all(os.access(place, os.W_OK) for place in spaces.values()):
        return Check("disk", "warning", f"{detail}, not writable; choose another --path or TMPDIR", facts)
    if min(free.values()) < _LITTLE_DISK_BYTES:
        return Check("disk", "warning", f"{detail}; free some space", facts)
    return Check("disk", "ok", detail, facts)


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("doctor")(doctor)
