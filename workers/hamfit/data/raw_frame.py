"""A frame as a foreign file gives it: its own units, names instead of indices, and gaps where the file is
silent.

Every reader yields these and knows nothing of datasets; `assembly` alone knows what a dataset needs. Files
open here too, plain or compressed, so that a damaged one is reported in one way.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from hamfit.errors import DataError
from hamfit.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class RawFrame:
    """One frame in the units of its file; None for what the file does not hold."""

    where: str
    """File and frame, for messages."""
    names: tuple[str, ...]
    """Name of each particle's species, N entries."""
    q: FloatArray
    """Positions (N, d)."""
    box: FloatArray | None = None
    """Lattice vectors as rows (d, d)."""
    periodic: tuple[bool, ...] = ()
    """Whether each lattice vector repeats; all False when empty."""
    wrapped: bool = False
    """Whether positions jump when a particle crosses the boundary."""
    masses: FloatArray | None = None
    """Masses (N,)."""
    velocity: FloatArray | None = None
    """Velocities (N, d)."""
    force: FloatArray | None = None
    """Forces (N, d)."""
    momentum: FloatArray | None = None
    """Momenta (N, d), given when they are not masses times velocities."""
    momentum_rate: FloatArray | None = None
    """Time derivatives of the momenta (N, d)."""
    potential_energy: float | None = None
    """Potential energy of the frame."""
    step: int | None = None
    """Step number."""
    time: float | None = None
    """Time."""
    bonds: IntArray | None = None
    """Bonded pairs (B, 2)."""
    bond_types: tuple[str, ...] | None = None
    """Name of each bond's type, B entries."""
    columns: tuple[str, ...] = ()
    """What the file calls its columns, for messages."""


@contextmanager
def open_lines(path: Path) -> Iterator[IO[bytes]]:
    """Open a plain or gzip-compressed (.gz) file for reading; DataError when it cannot be read or is cut
    short."""
    try:
        with cast("IO[bytes]", gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")) as file:
            yield file
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file: check the name") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: the compressed file is damaged or cut short: copy it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}): check the file") from error
