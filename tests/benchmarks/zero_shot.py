"""From a handful of nodes to thousands, without fitting again."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.records import Case
from tests.benchmarks.study import Study

TITLE = "Zero-shot transfer to larger systems"
TEXT = """
Each model is fitted to 20 trajectories of 50 frames of a small network with default options, and evaluated as
it is on a large one. In arXiv 2506.06558 the step from 2x2 to 100x100 fails.
"""

_FORCE_BAR = 1e-6

_STEPS = (
    ("cubic", "2x2x2", "16x16x16"),
    ("square", "3x3", "100x100"),
    ("square", "2x2", "100x100"),
)


def cases(study: Study) -> Iterator[Case]:
    """Fit on small lattices, test on large ones."""
    for geometry, small, large in _STEPS:
        for law in ("spring", "anharmonic", "morse"):
            trained = study.fit(f"{law}-{small}", study.simulate(f"{law}-{small}", law, geometry=geometry, shape=small))
            test = study.simulate(
                f"{law}-{large}", law, geometry=geometry, shape=large, n_trajectories=1, n_frames=5, seed=1
            )
            yield study.test(f"{small} to {large}", law, trained, test, force=_FORCE_BAR)
