"""Before the rows stream: a first look, sampled features, the whitened basis and the plan of shards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hamfit.features.block import PARTS
from hamfit.features.survey import Survey
from hamfit.fitting.basis import Basis, PartBasis, whitened_basis
from hamfit.fitting.building import Built, build
from hamfit.fitting.clock import Clock
from hamfit.fitting.executors import Executor
from hamfit.fitting.first_look import survey
from hamfit.fitting.frame_rows import KINDS
from hamfit.fitting.part_stream import MOST_RARE_COLUMNS
from hamfit.fitting.problem import Problem, frame_weights
from hamfit.fitting.shards import FrameTable, Shard, plan_sample, plan_shards
from hamfit.fitting.stage import Stage, stored_basis
from hamfit.options import FitOptions
from hamfit.processes import single_blas_thread
from hamfit.reductions import Triangle, Tsqr, Whitening, solver_named, whiten

#: Rows sampled for each raw column when whitening: eight, but for thousands of columns four are enough.
SAMPLE_ROWS_PER_COLUMN = (4, 8)
#: Up to this many rows the larger number is taken.
_CHEAP_SAMPLE_ROWS = 2560
#: Finest directions kept where many columns are solved from a Gram matrix alone, which sees no finer. With energies as
#: rows finer ones do harm: what forces hardly see, the energy may see ten orders of magnitude larger.
GRAM_CUTOFF = 1e-10
#: Tasks the sample is split into; part of the plan, so never a matter of how many workers there are.
SAMPLE_TASKS = 4
#: Operations of one shard: a few seconds of one thread.
_SHARD_FLOPS = 6e10


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """All that the streaming pass needs, and what was seen on the way to it."""

    found: Survey
    """The frames looked at."""
    built: tuple[Built, ...]
    """The sampled blocks of every part."""
    stage: Stage
    """The pass over all rows."""
    shards: tuple[Shard, ...]
    """Its tasks."""
    n_rows: int
    """Rows of all parts."""


def prepare(problem: Problem, options: FitOptions, executor: Executor, home: Path | None, clock: Clock) -> Prepared:
    """Survey, sample and whiten; an interrupted fit's basis is taken up from ``home``."""
    table = FrameTable.of(problem.datasets)
    with clock.phase("survey"), single_blas_thread():
        kinds = [KINDS[name] for name in frame_weights(problem, options)]
        found = survey(problem.datasets, problem.labels, problem.bond_labels, kinds)
        built = tuple(build(problem, found, options, part) for part in PARTS if problem.blocks_of(part))
    basis = stored_basis(home, "stream")
    if basis is None:
        solver, raw = solver_named(options.solver), tuple(b.part for b in built)
        reduction = solver.refinement[0] if options.precision == "mixed" and solver.refinement else solver.reduction
        if solver.whitens:
            shards = _sample_shards(problem, options, table, max(part.n_raw for part in raw))
            sampled = tuple(replace(part, frame_rows=()) for part in raw)
            sample = Basis(sampled, problem.labels, problem.bond_labels, Tsqr.name)
            # on the processor whatever computes the rows: the columns of a fit are then the same everywhere
            stage = Stage(sample, "sample", home, "cpu", keep_states=False)
            stage.store()
            with clock.phase("sampling", len(shards)) as done:
                triangles = executor(stage, shards, done)[0].triangles
            with clock.phase("whitening"), single_blas_thread():
                raw = tuple(whitened_basis(b.part, _whiten(b.part, triangles, options), b.extents) for b in built)
        basis = Basis(raw, problem.labels, problem.bond_labels, reduction.name)
    widest = max(part.n_columns for part in basis.parts)
    shards = plan_shards(table, options.groups, most_particles(problem.dim, widest))
    stage = Stage(basis, "stream", home, options.device, keep_states=options.checkpoint)
    stage.store()
    return Prepared(found, built, stage, shards, table.n_particles * problem.dim * len(basis.parts))


def _sample_shards(problem: Problem, options: FitOptions, table: FrameTable, columns: int) -> tuple[Shard, ...]:
    """Where the rows of the sample that whitens so many raw columns are drawn."""
    fewest, many = SAMPLE_ROWS_PER_COLUMN
    rows = max(fewest * columns, min(many * columns, _CHEAP_SAMPLE_ROWS), 1000)
    return plan_sample(table, -(-rows // problem.dim), SAMPLE_TASKS, options.seed)


def _whiten(part: PartBasis, triangles: Mapping[str, Triangle], options: FitOptions) -> Whitening:
    """Whiten as finely as what follows can resolve, unless the cutoff is given."""
    sample = triangles[part.part]
    fine = whiten(sample, options.rank_cutoff)
    if options.rank_cutoff is None and (fine.rank > MOST_RARE_COLUMNS or part.frame_rows):
        return whiten(sample, GRAM_CUTOFF)
    return fine


def most_particles(dim: int, columns: int) -> int:
    """Particles of a shard that keep one thread busy for a few seconds."""
    per_row = 2.0 * max(columns, 200) * columns + columns**2 + 1e4
    return max(256, int(_SHARD_FLOPS / per_row / dim))
