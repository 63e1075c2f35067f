"""Networks of springs: every law, geometry and dimension, tested on trajectories of another seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.benchmarks.records import Case
from tests.benchmarks.study import Study

TITLE = "Networks"
TEXT = """
Spring, anharmonic and Morse networks. Each model is fitted to 20 trajectories of 50 frames with default
options and tested on 20 trajectories of another seed. Errors are norm of the difference over norm of the
truth, over all components of all frames.
"""

_FORCE_BAR = 1e-7

GEOMETRIES: dict[str, dict[str, Any]] = {
    "chain of 10, d = 1": {"geometry": "chain", "shape": "10", "dim": 1},
    "chain of 10, d = 2": {"geometry": "chain", "shape": "10", "dim": 2},
    "chain of 10, d = 3": {"geometry": "chain", "shape": "10", "dim": 3},
    "4x4 lattice, d = 2": {"geometry": "square", "shape": "4x4"},
    "3x3x3 lattice, d = 3": {"geometry": "cubic", "shape": "3x3x3"},
}


def cases(study: Study) -> Iterator[Case]:
    """Fit and test all laws on all geometries."""
    for law in ("spring", "anharmonic", "morse"):
        for number, (words, options) in enumerate(GEOMETRIES.items()):
            name = f"{law}-{number}"
            trained = study.fit(name, study.simulate(name, law, **options))
            unseen = study.simulate(f"{name}-unseen", law, **options, seed=1, spread=1)
            yield study.test("Unseen trajectories", f"{law}, {words}", trained, unseen, force=_FORCE_BAR)
