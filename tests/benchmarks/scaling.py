"""Cost and memory against the number of particles and of frames."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.processes import answer
from tests.benchmarks.records import Case, Value
from tests.benchmarks.study import Study

import hamfit

TITLE = "Scaling"
TEXT = """
Lennard-Jones liquids (density 0.8442, cutoff 2.5), 256 features, one thread, every fit in a process of its own. Large
boxes repeat a melted one along each axis. `streaming` is the pass over all rows: neighbours, assembly, reduction. Cost
per particle and frame is flat, and peak memory grows with the particles of one frame, not with the number of frames.
The many-body block is measured with 64 features of 8 radial functions, `l_max` 2; `evaluate` beside one call of
`Model.potential` on the same frame, in turns.

![Streaming time against particles and frames](figures/scaling.svg)
"""

#: The same for the many-body block, whose rows cost a hundred times as much: 4,000 to 530,604 particles.
_ENVIRONMENTS = ((10, 1), (10, 2), (10, 4), (17, 3))
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

_MANYBODY = """
import json, sys
from hamfit.fitting import fit, plan
from hamfit.options import FitOptions
path = sys.argv[1]
options = FitOptions.build(dict(features=64, blocks=("manybody",), radial=8, l_max=2, cutoff=2.5, threads=1,
                                checkpoint=False))
predicted = plan(path, options)
report = fit(path, options=options).report
print(json.dumps(dict(seconds=report["seconds"], peak=report["peak_bytes_per_worker"],
                      predicted=predicted.peak_bytes_per_worker)))
"""

_EVALUATE = """
import json, statistics, sys, time
from hamfit.data import Dataset
from hamfit.evaluation import evaluate, plan_evaluation
from hamfit.model import Model
model, data = Model.open(sys.argv[1]), Dataset.open(sys.argv[2])
frame = data.trajectories[0].frame(0)
model.potential(frame)
turns = []
for _ in range(3):
    began = time.perf_counter()
    model.potential(frame)
    between = time.perf_counter()
    found = evaluate(model, data, threads=1)
    turns.append((between - began, time.perf_counter() - between))
alone, judged = (statistics.median(turn[k] for turn in turns) for k in (0, 1))
print(json.dumps(dict(alone=alone, judged=judged, ratio=statistics.median(b / a for a, b in turns),
                      force=found["force"])))
"""

_EVALUATE_PEAK = """
import json, sys
from hamfit.evaluation import evaluate, plan_evaluation
from hamfit.processes import peak_bytes
evaluate(sys.argv[1], sys.argv[2], threads=1)
print(json.dumps(dict(peak=peak_bytes(), predicted=plan_evaluation(sys.argv[1], sys.argv[2], threads=1).peak_bytes)))
"""


def cases(study: Study) -> Iterator[Case]:
    """Fit boxes of growing size, then trajectories of growing length."""
    for cells, tile in _SIZES:
        n = 4 * cells**3 * tile**3
        material = study.simulate(f"lj-{n}", "lj", shape=(cells,) * 3, tile=tile, n_frames=1, melt_steps=200)
        yield _case("Particles, one frame", f"{n:,} particles", material.path, n, 1)
    smallest = 0.0
    for cells, tile in _ENVIRONMENTS:
        n = 4 * cells**3 * tile**3
        material = study.simulate(f"lj-{n}", "lj", shape=(cells,) * 3, tile=tile, n_frames=1, melt_steps=200)
        # small frames take a second: the middle one of several
        found = [answer(_MANYBODY, str(material.path)) for _ in range(max(1, min(5, 100_000 // n)))]
        each = 1e6 * statistics.median(one["seconds"]["features"] for one in found) / n
        smallest = smallest or each
        yield _environments(n, each, each / smallest, found)
    yield _evaluated(study)
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


def _environments(n: int, each: float, ratio: float, found: list[dict[str, Any]]) -> Case:
    peak = max(one["peak"] for one in found)
    values = (
        Value("streaming, s", round(1e-6 * each * n, 3)),
        Value("microseconds a particle", round(each, 1)),
        Value("of that of the smallest", round(ratio, 3), 1.2),
        Value("peak memory, MiB", round(peak / 2**20, 1), _MEMORY / 2**20),
        Value("peak / predicted", round(peak / found[0]["predicted"], 3), 1.0),
    )
    return Case("Many-body block, one frame", f"{n:,} particles", values)


def _evaluated(study: Study) -> Case:
    """`evaluate` of a million particles beside one `Model.potential` of the same frame, in turns."""
    cells, tile = _SIZES[-1]
    n = 4 * cells**3 * tile**3
    small = study.simulate("lj-864", "lj", shape=(6, 6, 6), n_frames=1, melt_steps=200)
    large = study.simulate(f"lj-{n}", "lj", shape=(cells,) * 3, tile=tile, n_frames=1, melt_steps=200)
    model = study.folder / "evaluated.model"
    hamfit.fit(small.path, out=model, cutoff=2.5, threads=1)
    timed, held = answer(_EVALUATE, str(model), str(large.path)), answer(_EVALUATE_PEAK, str(model), str(large.path))
    values = (
        Value("evaluate, s", round(timed["judged"], 3)),
        Value("one `potential()`, s", round(timed["alone"], 3)),
        Value("evaluate / potential", round(timed["ratio"], 3), 1.1),
        Value("peak memory, MiB", round(held["peak"] / 2**20, 1), _MEMORY / 2**20),
        Value("peak / predicted", round(held["peak"] / held["predicted"], 3), 1.0),
    )
    return Case("Evaluating a frame, one thread", f"{n:,} particles", values)
