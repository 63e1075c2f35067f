"""The NeurIPS 2022 benchmark (arXiv 2211.05520): springs on a ring, and four bodies under gravity."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tests.benchmarks.records import Case
from tests.benchmarks.study import Study

TITLE = "NeurIPS 2022 benchmark"
TEXT = """
The systems of arXiv 2211.05520 as its code computes them. n-spring is fitted to a random three quarters of
the frames of 100 rings of 5 bodies, the benchmark's own split, and tested on the rest, on fresh rings of 5,
and on rings of 20 and 50 bodies. n-body is fitted to the benchmark's one trajectory of 10,000 frames and
tested on its mirror image, which an invariant model cannot tell from the training data, and on 20 fresh
orbits.

The rarest starts decide the longest spring: some springs of a test set are longer than any in training. The
share of such pairs stands beside each error. The second model of n-spring was fitted to slightly wider starts
(U[0, 2.2) instead of U[0, 2)), which cover them.
"""

_BAR = 1e-6


def cases(study: Study) -> Iterator[Case]:
    """Fit both systems, test as the benchmark does and beyond."""
    rings = study.simulate("nspring", "nspring")
    order = np.random.default_rng(0).permutation(100 * 100)
    chosen = np.zeros(100 * 100, dtype=bool)
    chosen[order[:7500]] = True
    split = chosen.reshape(100, 100)
    train = study.select(
        "nspring-train", rings, [np.flatnonzero(row).tolist() for row in split], "a random 75 % of the frames"
    )
    rest = study.select("nspring-rest", rings, [np.flatnonzero(~row).tolist() for row in split], "the other 25 %")
    wide = study.simulate("nspring-wide", "nspring", width=2.2)
    larger = {
        f"{bodies} bodies, fresh": study.simulate(
            f"nspring-{bodies}", "nspring", n_bodies=bodies, n_trajectories=trajectories, seed=1
        )
        for bodies, trajectories in ((5, 100), (20, 20), (50, 20))
    }
    model = study.fit("nspring", train)
    group = "n-spring, fitted to the benchmark's 75 %"
    for words, data in {"the other 25 % of the frames": rest, **larger}.items():
        yield study.test(group, words, model, data, force=_BAR)
    model = study.fit("nspring-wide", wide)
    for words, data in larger.items():
        yield study.test("n-spring, fitted to wider starts", words, model, data, force=_BAR)

    model = study.fit("nbody", study.simulate("nbody", "nbody"))
    mirror = study.simulate("nbody-mirror", "nbody", start="mirror", n_frames=1000)
    fresh = study.simulate("nbody-fresh", "nbody", start="fresh", n_trajectories=20, n_frames=500)
    yield study.test("n-body", "mirror image", model, mirror, force=_BAR)
    yield study.test("n-body", "20 fresh orbits", model, fresh, force=_BAR)
