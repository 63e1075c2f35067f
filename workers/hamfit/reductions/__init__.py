"""How rows become a solution: one protocol, its reductions, and the whitening that makes the fast one accurate.

``normal`` accumulates the Gram matrix of the raw columns, ``tsqr`` the triangular factor of their QR decomposition,
``sketched`` (the default) the Gram matrix of whitened columns, whose condition number is small. That matrix may be of
single precision (``mixed``) where a second pass refines the solution. ``device`` absorbs panels where they are made.
"""

from __future__ import annotations

from hamfit.reductions.gram import Gram
from hamfit.reductions.mixed import MixedGram
from hamfit.reductions.problems import Penalty, factor_of_gram
from hamfit.reductions.ridge import Form, Solution, solve_groups
from hamfit.reductions.triangle import AbstractReduction, Accumulator, Triangle
from hamfit.reductions.tsqr import Tsqr
from hamfit.reductions.whitening import Whitening, whiten

__all__ = [
    "AbstractReduction",
    "Accumulator",
    "Form",
    "Gram",
    "MixedGram",
    "Penalty",
    "Solution",
    "Triangle",
    "Tsqr",
    "Whitening",
    "factor_of_gram",
    "solve_groups",
    "whiten",
]
