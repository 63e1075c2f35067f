"""What a fit will cost, from metadata alone: rows, columns, tasks, memory of a worker and time.

Memory is a promise: the prediction is an upper bound that the tests hold the fit to. Time is an estimate from
the operations of the streaming pass at a rate typical of one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hamfit.features.survey import SURVEY_CENTRES
from hamfit.features.tables import most_local_columns
from hamfit.fitting.first_look import FEWEST_FRAMES
from hamfit.fitting.host_stream import PANEL_ROWS
from hamfit.fitting.part_stream import MOST_RARE_COLUMNS
from hamfit.fitting.problem import Problem
from hamfit.fitting.shards import FrameTable, Shard
from hamfit.options import FitOptions
from hamfit.processes import PROCESS_BYTES
from hamfit.reductions import Tsqr, solver_named

#: Floating-point operations one thread does in a second in panels and products; measured on 2.6 GHz AVX-512 cores.
RATE = 2e10
#: Rank of whitened radial features in double precision: it grows slowly with their number and levels off.
_RADIAL_RANK = 160


@dataclass(frozen=True, slots=True)
class Prediction:
    """The size of a fit before it runs."""

    frames: int
    particles: int
    rows: int
    columns: int
    tasks: int
    peak_bytes_per_worker: int
    expected_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def columns_of(problem: Problem, options: FitOptions) -> dict[str, int]:
    """Raw columns of each part."""
    out: dict[str, int] = {}
    for block in problem.blocks:
        columns = block.expected_columns(options, len(problem.labels), problem.n_channels, problem.dim)
        out[block.part] = out.get(block.part, 0) + columns
    return out


def predict(problem: Problem, options: FitOptions, table: FrameTable, shards: Sequence[Shard]) -> Prediction:
    """Predict rows, columns, tasks, memory and time of a fit."""
    columns, n_channels = columns_of(problem, options), problem.n_channels
    rows = table.n_particles * problem.dim
    threads, solver = options.threads, solver_named(options.solver)
    state = 0
    working = 0
    flops = 0.0
    for part, n in columns.items():
        radial = all(block.is_tabulated for block in problem.blocks if block.part == part)
        k = min(n, _RADIAL_RANK * max(1, n_channels)) if radial and solver.whitens else n
        local = min(most_local_columns(n_channels), 4 * n + 2048) if radial else n + 2048
        # a state of ordinary rows, one of rare rows, one of each kind of rows of frames
        state += (2 + len(problem.stated)) * 8 * (k + 1) ** 2
        reducing = solver.reduction(k).working_bytes
        if solver.whitens:
            # an R factor of the sample first, then one of rare rows beside the others
            reducing += Tsqr(min(k, MOST_RARE_COLUMNS)).working_bytes
            reducing = max(reducing, Tsqr(n).working_bytes)
        working += 8 * PANEL_ROWS * (local + k) + reducing + 6 * 8 * n * n
        flops += rows * (2.0 * local * k + k * k)
        if options.precision == "mixed":
            # the second pass makes rows anew, and two products with vectors of them
            flops += rows * 4.0 * local
    largest = int(table.particles.max()) if table.n_frames else 0
    # positions, momenta, velocities, forces, sorted copies and cells of one frame, and the chunks they came from
    frame_bytes = largest * 8 * 40 + 64 * 2**20
    # the first look keeps a few frames to the end: at least four, and as many as hold its particles
    mean = table.n_particles / max(1, table.n_frames)
    looked_at = min(table.n_frames, max(FEWEST_FRAMES, int(np.ceil(SURVEY_CENTRES / max(mean, 1.0)))))
    survey_bytes = looked_at * largest * 8 * (4 * problem.dim + 12)
    # the driver merges as states come: one waits on every level of a group's tree
    waiting = options.groups * (2 + int(np.ceil(np.log2(max(2, len(shards))))))
    peak = PROCESS_BYTES + survey_bytes + threads * (working + 3 * state + frame_bytes) + waiting * state
    workers = (options.workers or 1) * threads
    return Prediction(
        frames=table.n_frames,
        particles=table.n_particles,
        rows=rows * len(columns),
        columns=sum(columns.values()),
        tasks=len(shards),
        peak_bytes_per_worker=int(peak),
        expected_seconds=round(flops / RATE / workers + 1.0, 1),
    )
