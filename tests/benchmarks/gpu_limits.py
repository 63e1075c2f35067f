"""How long the parts of a frame and of a step take at least, beside how long they take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tests.benchmarks.gpu_clock import Floors, median_time

from hamfit.devices import AbstractDevice
from hamfit.features.device_radial import upload_radial, upload_table
from hamfit.features.pair import PairBlock
from hamfit.features.tables import spline_slopes
from hamfit.fitting.basis import Basis
from hamfit.fitting.streaming import reduction_of
from hamfit.frames import Frame
from hamfit.graphs.device_cells import prepare_on_device
from hamfit.graphs.device_lists import build_lists
from hamfit.graphs.lattice import Lattice
from hamfit.inference.columns_engine import SKIN
from hamfit.kernels.gpu import radial_rows, spline_rows

#: Flops of one feature of one edge beside its tanh: argument 2, slope 3, taper 2, three sums 6.
_FEATURE_FLOPS = 13
#: Bytes of an edge that assembly reads: distance, vector, channel.
_EDGE_BYTES = 8 * (1 + 3 + 1)
#: Bytes of a listed neighbour: its place and its translation.
_LISTED_BYTES = 2 * 4
#: Bytes of a particle in a step: position and species, momentum and force are read and written, the place where the
#: list was built and the inverse mass are read, and the number of neighbours.
_PARTICLE_BYTES = 2 * 8 * (4 + 3 + 3) + 8 * (3 + 1) + 4
CUTOFF = 2.5


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a frame's work on the device."""

    seconds: float
    """What it takes."""
    limit: float
    """What it takes at least, s."""


def panel_parts(device: AbstractDevice, basis: Basis, frame: Frame, floors: Floors) -> dict[str, Part]:
    """Assembly and reduction of all rows of a frame as one panel of a pair block."""
    part = basis.parts[0]
    block = part.blocks[0]
    assert len(part.blocks) == 1
    assert isinstance(block, PairBlock)
    xp, lift, table = device.xp, part.lift(), part.table(0)
    source = prepare_on_device(device, block.graph, frame)
    edges = source.edges(device.upload(source.order))
    rows, width = frame.n_particles * frame.dim, part.local_widths[0]
    written = 8.0 * rows * width + _EDGE_BYTES * edges.n_edges
    accumulator = reduction_of(basis, part).accumulator(device)
    if table is not None and lift is not None:
        local = xp.empty((rows, width))
        uploaded, slopes, raised = upload_table(device, table), device.upload(spline_slopes()), device.upload(lift)
        spent = median_time(
            device, lambda: spline_rows(device, edges, uploaded, slopes, frame.dim, 0, width, local)
        ).kernels["spline_rows"]
        assembly = Part(spent, written / floors.bandwidth)
        panel = local @ raised
        lifting = Part(
            median_time(device, lambda: local @ raised).total,
            max(
                2.0 * rows * width * raised.shape[1] / floors.gemm_flops,
                8.0 * rows * (width + raised.shape[1]) / floors.bandwidth,
            ),
        )
    else:
        panel = xp.zeros((rows, part.n_columns + 1))
        radial = upload_radial(device, block.radial)
        spent = median_time(device, lambda: radial_rows(device, edges, radial, frame.dim, 0, panel)).kernels[
            "radial_rows"
        ]
        features = float(edges.n_edges) * block.radial.per_channel
        assembly = Part(spent, max(written / floors.bandwidth, *_arithmetic(features, floors)))
        lifting = Part(0.0, 0.0)
    columns = part.n_columns + 1
    gram = Part(
        median_time(device, lambda: accumulator.absorb(panel)).total,
        max(rows * columns * (columns + 1.0) / floors.gemm_flops, 8.0 * rows * columns / floors.bandwidth),
    )
    reduction = Part(lifting.seconds + gram.seconds, lifting.limit + gram.limit)
    return {"assembly": assembly, "reduction": reduction}


def _arithmetic(features: float, floors: Floors) -> tuple[float, ...]:
    """Times of so many features of edges by their arithmetic alone, where its rates were measured."""
    if floors.multiply_adds is None or floors.tanhs is None:
        return (0.0,)
    return features * _FEATURE_FLOPS / floors.multiply_adds, features / floors.tanhs


def step_bytes(device: AbstractDevice, frame: Frame) -> float:
    """Bytes that a step of a rollout reads and writes at least."""
    cutoffs = np.full((int(frame.species.max()) + 1,) * 2, CUTOFF)
    q = device.upload(frame.q.T)
    species = device.upload(frame.species.astype(np.int32))
    lists = build_lists(device, q, species, Lattice.of(frame), cutoffs, SKIN * CUTOFF)
    return float(lists.counts.sum()) * _LISTED_BYTES + frame.n_particles * _PARTICLE_BYTES
