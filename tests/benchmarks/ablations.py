"""One choice of the fit forced at a time: what input map, taper, solver, sampler and number of features are worth."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from tests.benchmarks.liquids import split
from tests.benchmarks.records import Case, Value
from tests.benchmarks.study import CPU_SECONDS, FORCE, OUTSIDE, Material, Study

import hamfit
from hamfit.errors import FitWarning

TITLE = "What each choice is worth"
TEXT = """
A fit chooses input map, taper and sampler by held-out error, and solves with the `sketched` reduction. Here
one of these is forced and all else left as it is. Liquid: lj-500, cutoff 2.5, frames 0 to 14, tested on
frames 15 to 19 and on 864 atoms at T = 3 (four times hotter). Noise is Gaussian, its size a share of the rms
force, in training only. Morse: a 3x3x3 network, tested on trajectories of another seed. No bars: this page
explains the others.
"""

_LIQUID: dict[str, dict[str, dict[str, Any]]] = {
    "Input map": {
        "r": {"input_map": "r"},
        "1/r": {"input_map": "1/r"},
        "r2": {"input_map": "r2"},
    },
    "Taper": {
        "none: forces may jump at the cutoff": {"taper": "none"},
        "smooth: forces go to zero": {"taper": "smooth"},
    },
    "Solver": {
        "sketched": {"solver": "sketched"},
        "tsqr": {"solver": "tsqr"},
        "normal": {"solver": "normal"},
    },
    "Sampler": {
        "elm": {"sampler": "elm"},
        "swim": {"sampler": "swim"},
        "swim-gradient": {"sampler": "swim-gradient"},
    },
    "Features": {str(n): {"features": n} for n in (8, 16, 32, 64, 128, 256, 512)},
}


def cases(study: Study) -> Iterator[Case]:
    """Force one choice after the other."""
    train, unseen = split(study, "lj-500", "lj")
    hot = study.simulate("lj-hot", "lj", shape="6x6x6", temperature=3.0, n_frames=4, dt=0.002, seed=1)
    for group, choices in _LIQUID.items():
        for words, options in choices.items():
            name = f"{group}-{words}".lower().replace("/", "").replace(" ", "-").partition(":")[0]
            yield _case(study, f"Liquid: {group.lower()}", name, words, train, unseen, hot, cutoff=2.5, **options)
    for share in (0.0, 1e-6, 1e-4, 1e-2, 0.1):
        noisy = study.disturb(f"noisy-{share:g}", train, share)
        yield _case(
            study, "Liquid: noise on the forces", f"noise-{share:g}", f"{share:g}", noisy, unseen, hot, cutoff=2.5
        )
    morse = study.simulate("morse", "morse", geometry="cubic", shape="3x3x3")
    other = study.simulate("morse-other", "morse", geometry="cubic", shape="3x3x3", seed=1, spread=1)
    for words, options in _LIQUID["Input map"].items():
        name = f"morse-{words}".replace("/", "")
        yield _case(study, "Morse network: input map", name, words, morse, other, None, **options)


def _case(
    study: Study,
    group: str,
    name: str,
    words: str,
    train: Material,
    test: Material,
    hot: Material | None,
    **options: Any,
) -> Case:
    with warnings.catch_warnings():
        # what a choice costs is the point of the page; the fit's own warnings say the same in words
        warnings.simplefilter("ignore", FitWarning)
        fitted = study.fit(name, train, **options)
    errors = hamfit.evaluate(fitted.model, test.path)
    values = [Value(f"{FORCE}, unseen", errors["force"])]
    if hot is not None:
        there = hamfit.evaluate(fitted.model, hot.path)
        values += [Value(f"{FORCE}, T = 3", there["force"]), Value(f"{OUTSIDE}, T = 3", there["extrapolated_share"])]
    part = fitted.report["parts"]["force"]
    values += [
        Value("columns", float(part["columns"])),
        Value("rank", float(part["rank"])),
        Value("condition of the rows", part["condition"]),
        Value("ridge", part["ridge"]),
        Value(CPU_SECONDS, round(fitted.seconds, 2)),
    ]
    return Case(group, words, tuple(values), fitted.commands)
