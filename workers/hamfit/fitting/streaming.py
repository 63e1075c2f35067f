"""Streaming a shard: frames in, panels of rows through the reduction, one partial state out.

A panel of rows is filled block by block, lifted to whitened columns by one matrix product, and absorbed; nothing larger
than a panel, a frame and the state of the reduction is ever in memory. Panels are computed on the processor
(``host_stream``) or on a device (``device_stream``); the states that come of them are alike, and may be merged.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from hamfit.data.dataset import reopened
from hamfit.devices import AbstractDevice
from hamfit.errors import located
from hamfit.fitting.basis import Basis, PartBasis
from hamfit.fitting.host_stream import HostPartStream
from hamfit.fitting.part_stream import AbstractPartStream, keeps_rare_rows, rare
from hamfit.fitting.partial import PartialState
from hamfit.fitting.shards import Shard
from hamfit.frames import Frame
from hamfit.graphs import FrameGraphs
from hamfit.processes import peak_bytes
from hamfit.reductions import AbstractReduction, Tsqr, reduction_named


def reduction_of(basis: Basis, part: PartBasis) -> AbstractReduction:
    """The reduction of one part's rows."""
    return reduction_named(basis.reduction)(part.n_columns)


def reductions_of(basis: Basis) -> dict[str, AbstractReduction]:
    """The reduction of every kind of row."""
    out: dict[str, AbstractReduction] = {}
    for part in basis.parts:
        reduction = out[part.part] = reduction_of(basis, part)
        if keeps_rare_rows(part) and not reduction.of_residuals:
            out[rare(part)] = Tsqr(part.n_columns)
        out |= {rows.name: reduction.precise() for rows in part.frame_rows}
    return out


def frames_of(shard: Shard) -> Iterator[tuple[tuple[str, str, int], Frame]]:
    """The frames of a shard and where each lies (dataset, trajectory, index), a few megabytes at a time."""
    for piece in shard.pieces:
        trajectory = reopened(piece.dataset, piece.digest).trajectories[piece.trajectory]
        step = trajectory.frames_at_once
        for start in range(piece.start, piece.stop, step):
            for index, frame in enumerate(trajectory.frames(start, min(start + step, piece.stop)), start):
                yield (piece.dataset, trajectory.name, index), frame


def mean_particles(shard: Shard) -> int:
    """Particles of a frame of the shard, on average."""
    sizes = [
        (reopened(piece.dataset, piece.digest).trajectories[piece.trajectory].n_particles, piece.stop - piece.start)
        for piece in shard.pieces
    ]
    return sum(n * frames for n, frames in sizes) // max(1, shard.n_frames)


def reduce_shard(shard: Shard, basis: Basis, device: AbstractDevice | None = None) -> PartialState:
    """Compute all rows of a shard and reduce them to one state, on the processor or on a device."""
    began = time.perf_counter()
    streams, graphs = [_stream(basis, part, device) for part in basis.parts], FrameGraphs()
    for position, (where, frame) in enumerate(frames_of(shard)):
        with located(*where):
            known = frame.relabel(basis.labels, basis.bond_labels)
            for stream in streams:
                stream.absorb(known, shard, position, graphs)
    states = [stream.finish() for stream in streams]
    return PartialState(
        triangles={name: triangle for state in states for name, triangle in state.triangles.items()},
        squares={name: value for state in states for name, value in state.squares.items()},
        extents={name: extent for state in states for name, extent in state.extents.items()},
        outside={name: count for state in states for name, count in state.outside.items()},
        seconds=time.perf_counter() - began,
        peak_bytes=peak_bytes(),
        devices=() if device is None else (device.name,),
        notes=tuple(sorted({note for stream in streams for note in stream.notes})),
    )


def _stream(basis: Basis, part: PartBasis, device: AbstractDevice | None) -> AbstractPartStream:
    reduction = reduction_of(basis, part)
    if device is None:
        return HostPartStream(part, reduction)
    # most processes have no device, and need not know how it is used
    from hamfit.fitting.device_stream import DevicePartStream

    return DevicePartStream(part, reduction, device)
