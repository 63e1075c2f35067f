"""Lennard-Jones liquids from LAMMPS: unseen frames, and boxes that are larger, hotter or freshly made."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.records import Case
from tests.benchmarks.study import DATA, Material, Study

TITLE = "Liquids"
TEXT = """
LAMMPS trajectories of 20 frames (`tests/data`), forces cut hard at the cutoff. Models are fitted to frames 0
to 14 with 256 features for each pair of species and tested on frames 15 to 19, and on boxes of the same
liquid that hamfit simulates. Whether forces are cut hard, and the input map, are chosen by held-out error.
LAMMPS's liquid has a temperature of 0.70; hotter ones hold pairs closer than any in it, and the share of
these stands beside the errors.
"""

_KA_CUTOFF = "1-1=2.5,1-2=2.0,2-2=2.2"


def split(study: Study, name: str, units: str, fitted: int = 15) -> tuple[Material, Material]:
    """The first frames of a LAMMPS trajectory to fit, the others to test."""
    whole = study.ingest(name, DATA / f"{name}.lammpstrj.gz", units=units, energies=DATA / f"{name}.energies.csv")
    return (
        study.select(f"{name}-train", whole, [range(fitted)], f"frames 0 to {fitted - 1}"),
        study.select(f"{name}-unseen", whole, [range(fitted, 20)], f"frames {fitted} to 19"),
    )


def cases(study: Study) -> Iterator[Case]:
    """Fit both liquids, test at home and abroad."""
    train, unseen = split(study, "lj-500", "lj")
    model = study.fit("lj-500", train, cutoff=2.5)
    group = "lj-500: one species, cutoff 2.5"
    yield study.test(group, "unseen frames", model, unseen, force=1e-7)
    for words, options in {
        "4000 atoms, T = 1.2": {"shape": "10x10x10", "temperature": 1.2, "n_frames": 2},
        "2048 atoms, T = 1.5": {"shape": "8x8x8", "temperature": 1.5, "n_frames": 4},
        "2048 atoms, T = 3": {"shape": "8x8x8", "temperature": 3.0, "n_frames": 4},
    }.items():
        fresh = study.simulate(f"lj-{options['shape']}-{options['temperature']}", "lj", **options, seed=1)
        yield study.test(group, words, model, fresh, force=1e-7)
    for temperature in (2.0, 4.0, 6.0, 10.0):
        hot = study.simulate(
            f"lj-{temperature}", "lj", shape="6x6x6", temperature=temperature, n_frames=4, dt=0.002, seed=1
        )
        yield study.test("lj-500: how far it carries", f"864 atoms, T = {temperature:g}", model, hot, force=None)

    train, unseen = split(study, "ka-500", "lj")
    model = study.fit("ka-500", train, cutoff=_KA_CUTOFF)
    group = "ka-500: two species, three cutoffs"
    yield study.test(group, "unseen frames", model, unseen, force=1e-6)
    fresh = study.simulate("ka-fresh", "kob-andersen", n_frames=5, seed=1)
    yield study.test(group, "a fresh box", model, fresh, force=1e-6)
