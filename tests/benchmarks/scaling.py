"""Cost and memory against the number of particles and of frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.processes import answer
from tests.benchmarks.records import Case, Value
from tests.benchmarks.study import Study

TITLE = "Scaling"
TEXT = """
Lennard-Jones liquids (density 0.8442, cutoff 2.5), 256 features, one thread, every fit in a process of its own. Large
boxes repeat a melted one along each axis. `streaming` is the pass over all rows: neighbours, assembly, reduction. Cost
per particle and frame is flat, and peak memory grows with the particles of one frame, not with the number of frames.

![Streaming time against particles and frames](figures/scaling.svg)
"""

#: Crystal cells of the melted box along each axis, and how often it is repeated.
_SIZES = ((6, 1), (14, 1), (9, 3), (9, 7))
_FRAMES = (5, 10, 20, 40)
_MEMORY = 24 * 2**30

_SCRIPT = """
import json, sys
from hamfit.fitting import fit, plan
from hamfit.options import FitOptions
path = sys.argv[1]
options = FitOptions.build(dict(features=256, blocks=("kinetic", "pair"), cutoff=2.5, threads=1, checkpoint=False,
                                input_map="1/r", taper="none", sampler="elm"))
predicted = plan(path, options)
report = fit(path, options=options).report
print(json.dumps(dict(seconds=report["seconds"], rows=report["rows"], peak=report["peak_bytes_per_worker"],
                      predicted=predicted.peak_bytes_per_worker, held_out=report["held_out"])))
"""


def cases(study: Study) -> Iterator[Case]:
    """Fit boxes of growing size, then trajectories of growing length."""
    for cells, tile in _SIZES:
        n = 4 * cells**3 * tile**3
        material = study.simulate(f"lj-{n}", "lj", shape=(cells,) * 3, tile=tile, n_frames=1, melt_steps=200)
        yield _case("Particles, one frame", f"{n:,} particles", material.path, n, 1)
    for frames in _FRAMES:
        material = study.simulate(
            f"lj-frames-{frames}", "lj", shape=(9, 9, 9), n_frames=frames, every=5, melt_steps=200
        )
        yield _case("Frames, 2,916 particles", f"{frames} frames", material.path, 2916, frames)


def _case(group: str, name: str, path: Path, particles: int, frames: int) -> Case:
    found = answer(_SCRIPT, str(path))
    streaming = found["seconds"]["features"]
    values = (
        Value("streaming, s", streaming),
        Value("microseconds a particle", round(1e6 * streaming / (particles * frames), 2)),
        Value("fit, s", found["seconds"]["total"]),
        Value("peak memory, MiB", round(found["peak"] / 2**20, 1), _MEMORY / 2**20),
        Value("peak / predicted", round(found["peak"] / found["predicted"], 3), 1.0),
    )
    return Case(group, name, values)
