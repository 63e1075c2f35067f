"""What a rollout takes: bytes on disk, and memory of a process."""

from __future__ import annotations

import math

from hamfit.data import Trajectory
from hamfit.processes import PROCESS_BYTES
from hamfit.stores.zarr_array import TARGET_CHUNK_BYTES, ArrayEntry, chunk_shape

_NUMBER_BYTES = 8


def stored_bytes(start: Trajectory, n_frames: int, vectors: int) -> int:
    """Bytes of the arrays of one rollout that starts in a trajectory, without metadata: `Dataset.n_bytes` of it.

    ``vectors`` counts the arrays (T, N, d): positions, velocities, and what else is stored.
    """
    n, d = start.n_particles, start.dim
    shapes: list[tuple[int, ...]] = [(n_frames, n, d)] * vectors
    # potential energies, and with every element its steps and times
    shapes += [(n_frames,)] * (1 + 2 * (vectors + 1))
    shapes += [(n,), (n,)]
    if {"box", "box_fixed"} & set(start.fields):
        shapes.append((d, d))
    if start.bonds is not None:
        shapes += [start.bonds.shape, (len(start.bonds),)]
    entries = [ArrayEntry("value", shape, chunk_shape(shape), "float64", "", ()) for shape in shapes]
    return sum(math.prod(entry.grid) * entry.chunk_file_bytes for entry in entries)


def peak_bytes_of_process(
    n_particles: int, dim: int, n_frames: int, vectors: int, concurrent: int, engine_bytes: int
) -> int:
    """Peak memory of a process, whatever the number of steps: an engine and one chunk of each array per rollout.

    ``engine_bytes`` is what an engine takes for each particle.
    """
    pending = vectors * min(n_frames * n_particles * dim * _NUMBER_BYTES, TARGET_CHUNK_BYTES)
    pending += (3 + 2 * vectors) * min(n_frames * _NUMBER_BYTES, TARGET_CHUNK_BYTES)
    # rows are joined while they wait, and joined, padded and turned to bytes when they are written or checkpointed
    return int(PROCESS_BYTES + concurrent * (n_particles * engine_bytes + 4 * pending))
