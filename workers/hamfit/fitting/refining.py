"""Iterative refinement: a second pass over the rows in float64 mends what single precision lost in the first.

The first pass gives the Gram matrix G of the whitened columns to six or seven digits and with it a first solution. The
second gives, in float64, the residuals of that solution and their products with the columns; G is good enough for what
is left to solve. Had the first pass been exact, the second would change nothing: the size of its step tells how much
precision the first has cost, and the square of it, relative to the first, what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from hamfit.fitting.basis import Basis, PartBasis
from hamfit.fitting.executors import Executor
from hamfit.fitting.part_stream import keeps_rare_rows, rare
from hamfit.fitting.partial import PartialState
from hamfit.fitting.shards import Shard
from hamfit.fitting.solving import SolvedPart, problem_of
from hamfit.fitting.stage import Stage, stored_basis
from hamfit.processes import single_blas_thread
from hamfit.reductions import AbstractSolver, Triangle
from hamfit.reductions.mixed import refined_factor
from hamfit.types import FloatArray

_NAME = "refine"


def refine(
    stage: Stage,
    shards: Sequence[Shard],
    groups: Sequence[PartialState],
    executor: Executor,
    on_done: Callable[[Shard], None],
    solve: Callable[[PartBasis, Sequence[PartialState]], SolvedPart],
    solver: AbstractSolver,
) -> tuple[Basis, list[PartialState]]:
    """Solve what the first pass over ``stage`` left, pass over the rows again, and give what is to be solved then."""
    basis = stored_basis(stage.home, _NAME)
    if basis is None:
        with single_blas_thread():
            first = [solve(part, groups) for part in stage.basis.parts]
        assert solver.refinement is not None
        basis = replace(_centred(stage.basis, first), reduction=solver.refinement[1].name)
    second = replace(stage, basis=basis, name=_NAME)
    second.store()
    roots = executor(second, shards, on_done)
    return basis, [_joined(basis, group, roots[g]) for g, group in zip(sorted(roots), groups, strict=True)]


def _centred(basis: Basis, solved: Sequence[SolvedPart]) -> Basis:
    """The basis whose preliminary solution is the one found."""
    parts = []
    for part in solved:
        whitening = part.basis.whitening
        assert whitening is not None
        parts.append(replace(part.basis, whitening=replace(whitening, preliminary=part.coefficients)))
    return replace(basis, parts=tuple(parts))


def _joined(basis: Basis, first: PartialState, second: PartialState) -> PartialState:
    """Columns of the first pass, targets of the second; an R factor of all rows where rare ones are kept apart."""
    triangles = dict(second.triangles)
    for part in basis.parts:
        gram, products = first.triangles[part.part], second.triangles[part.part]
        if keeps_rare_rows(part):
            triangles[rare(part)] = first.triangles[rare(part)]
            triangles[part.part] = refined_factor(gram, triangles[rare(part)], products)
        else:
            upper = gram.unpack()
            upper[:, -1] = products.unpack()[:, -1]
            triangles[part.part] = Triangle.pack(upper, products.n_rows)
    return replace(second, triangles=triangles, **first.spent_with(second))


def with_steps(
    solved: SolvedPart, part: PartBasis, groups: Sequence[PartialState], solver: AbstractSolver
) -> SolvedPart:
    """The solved part, its report with the sizes of the steps of both passes; ``part`` is the basis of the first.

    The size of a step is the root mean square change of the predictions, relative to the targets.
    """
    start, whitening, name = part.whitening, solved.basis.whitening, solved.basis.part
    assert start is not None
    assert whitening is not None
    square = sum(group.squares[name] for group in groups)
    form = problem_of(part, solver).takes
    matrices = [form.matrix(group.triangles[name]) for group in groups]

    def size(step: FloatArray) -> float:
        shift = np.concatenate([step, np.zeros(part.n_columns + 1 - step.size)])
        changes = sum(form.square(matrix, shift) for matrix in matrices)
        return float(np.sqrt(changes / square)) if square > 0.0 else 0.0

    steps = {
        "first_step": size(whitening.preliminary - start.preliminary),
        "refinement_step": size(solved.coefficients - whitening.preliminary),
    }
    return replace(solved, report={**solved.report, **steps})
