"""How rows become a solution: one module for each solver, what they share, and the whitening that makes the fast one
accurate.

triangle     the state that travels between workers, its reduction and its laws
problems     what is solved from states, and how a solution may come about
ridge        the choice of the ridge by leaving out groups
solver       what a solver is; they are registered in ``hamfit.solver_choice``
normal, tsqr, sketched      the solvers, each with its reduction on processor and device, its problem and its caveats
mixed        single precision for ``sketched``, and the refinement that mends it
whitening, factors          the basis of ``sketched``; triangular factors
"""

from __future__ import annotations

from hamfit.reductions.mixed import MixedGram, Residuals
from hamfit.reductions.normal import Gram
from hamfit.reductions.problems import AbstractProblem, Outcome, Penalty
from hamfit.reductions.ridge import FurtherRows, Solution, solve_groups
from hamfit.reductions.solver import AbstractSolver, reduction_named, solver_named
from hamfit.reductions.triangle import LARGE_STATE_BYTES, AbstractAccumulator, AbstractReduction, Triangle
from hamfit.reductions.tsqr import Tsqr
from hamfit.reductions.whitening import Whitening, whiten

__all__ = [
    "LARGE_STATE_BYTES",
    "AbstractAccumulator",
    "AbstractProblem",
    "AbstractReduction",
    "AbstractSolver",
    "FurtherRows",
    "Gram",
    "MixedGram",
    "Outcome",
    "Penalty",
    "Residuals",
    "Solution",
    "Triangle",
    "Tsqr",
    "Whitening",
    "reduction_named",
    "solve_groups",
    "solver_named",
    "whiten",
]
