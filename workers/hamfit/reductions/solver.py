"""What a solver is: which reduction its rows go through, what problem they make then, and what it has to say of it.

Each lies in a module of its own, with the reduction and the problem that came with it, and is registered in
``hamfit.solver_choice``. To fit by it nothing else needs to know it.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any, ClassVar

from hamfit.errors import FitError
from hamfit.reductions.problems import AbstractProblem
from hamfit.reductions.triangle import AbstractReduction
from hamfit.solver_choice import SOLVERS


class AbstractSolver(ABC):
    """How rows become a solution; holds no data."""

    whitens: ClassVar[bool] = False
    """Whether columns are whitened by a sample of rows first; rows unlike the sample are then kept apart, as R."""
    reduction: ClassVar[type[AbstractReduction]]
    """What the rows go through; a reduction of its own brings its accumulators, host and device, and its memory."""
    refinement: ClassVar[tuple[type[AbstractReduction], type[AbstractReduction]] | None] = None
    """What they go through in mixed precision, in the first and in the second pass; None where it has no such thing."""

    problem: ClassVar[type[AbstractProblem]]
    """What their states make."""
    problem_of_factors: ClassVar[type[AbstractProblem]]
    """What the R factors of all rows make, where whitened columns are so few that rare rows were kept apart."""

    def caveats(self, name: str, part: Mapping[str, Any]) -> list[str]:
        """Sentences on a solved part, of which ``part`` is the report; each names the part, the reason and the fix."""
        del name, part
        return []


@cache
def solver_named(name: str) -> AbstractSolver:
    """The solver registered by this name."""
    module, _, attribute = SOLVERS[name].place.partition(":")
    solver: AbstractSolver = getattr(import_module(module), attribute)()
    return solver


def reduction_named(name: str) -> type[AbstractReduction]:
    """The reduction that some solver has brought; FitError where none has."""
    for solver in map(solver_named, SOLVERS):
        brought: tuple[type[AbstractReduction], ...] = (solver.reduction, *(solver.refinement or ()))
        for reduction in brought:
            if reduction.name == name:
                return reduction
    raise FitError(f"no solver here knows the reduction '{name}': register the solver that the fit was begun with")
