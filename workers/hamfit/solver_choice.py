"""The solvers there are: the words of options and where each is written, known without loading anything numerical.

A solver is one module that holds one class, an ``AbstractSolver`` (``reductions.solver``). Registered here before
``hamfit.options`` is loaded, it is a choice of every door (Python, command line, service), and under the contract that
``tests/hamfit/reductions`` holds all solvers to.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Registered:
    """Where a solver is written, and what is said of it in a word or two."""

    place: str
    """``module:class``."""
    praise: str = ""
    """Why one would take it, for the help text."""


#: By name; the first is the default.
SOLVERS: dict[str, Registered] = {
    "sketched": Registered("hamfit.reductions.sketched:Sketched", "accurate, fast"),
    "tsqr": Registered("hamfit.reductions.tsqr:Orthogonal", "orthogonal"),
    "normal": Registered("hamfit.reductions.normal:Normal"),
}


def described() -> str:
    """All solvers in one phrase: a (good), b (better) or c."""
    *most, last = [f"{name} ({one.praise})" if one.praise else name for name, one in SOLVERS.items()]
    return f"{', '.join(most)} or {last}"
