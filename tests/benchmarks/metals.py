"""Crystals from LAMMPS whose forces are no sum over pairs: copper (EAM) and silicon (Stillinger-Weber)."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.liquids import split
from tests.benchmarks.records import Case
from tests.benchmarks.study import Study

TITLE = "Metals and semiconductors"
TEXT = """
Copper near 800 K (EAM) and silicon near 1000 K (Stillinger-Weber) from LAMMPS, 20 frames each (`tests/data`),
fitted to frames 0 to 14 and tested on frames 15 to 19. The pair block alone stands beside the many-body
block: what it misses is not in any sum over pairs. Silicon has no bar.
"""

_MATERIALS = (("cu-256", "copper", 5.5, 3e-3), ("si-216", "silicon", 5.0, None))


def cases(study: Study) -> Iterator[Case]:
    """Fit both crystals with and without the many-body block."""
    for name, words, cutoff, bar in _MATERIALS:
        train, unseen = split(study, name, "metal")
        blocks = "kinetic,pair,manybody"
        model = study.fit(f"{name}-manybody", train, cutoff=cutoff, blocks=blocks)
        yield study.test("With the many-body block", f"{words}, cutoff {cutoff} A", model, unseen, force=bar)
        model = study.fit(f"{name}-pair", train, cutoff=cutoff)
        yield study.test("Pair block alone", f"{words}, cutoff {cutoff} A", model, unseen, force=None)
