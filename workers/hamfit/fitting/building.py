"""Sampling the blocks of a fit from the survey, grouped into the independent parts of the problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hamfit.errors import SpecError
from hamfit.features.block import AbstractBlock, Part, Sampled
from hamfit.features.survey import Sampling, Survey
from hamfit.fitting.basis import PartBasis
from hamfit.fitting.frame_rows import KINDS, FrameRows
from hamfit.fitting.problem import Problem, frame_weights
from hamfit.fitting.reach import TRIAL_FEATURES, choose_reach
from hamfit.graphs import CutoffGraph
from hamfit.options import FitOptions
from hamfit.relative import rms
from hamfit.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """A part with its blocks sampled, and what the survey saw of their edges."""

    part: PartBasis
    """Raw columns."""
    extents: tuple[FloatArray | None, ...]
    """Shortest and longest edge of every channel, for each block; None where a block cannot be tabulated."""
    choices: dict[str, Any]
    """How the features were chosen, for the report."""


def build(problem: Problem, found: Survey, options: FitOptions, part: Part) -> Built:
    """Sample all blocks asked for of one part."""
    blocks = problem.blocks_of(part)
    sampling = Sampling(found, part, problem.labels, problem.graph, options, blocks)
    targets = sampling.targets()
    choices: dict[str, Any] = {}
    if problem.graph is None and any(block.needs_graph != "no" for block in blocks):

        def make(candidate: CutoffGraph) -> list[AbstractBlock]:
            few = sampling.within(candidate, features=TRIAL_FEATURES, sampler="elm")
            return [block.sampled(few).block for block in blocks]

        graph, judged = choose_reach(found, problem.labels, make)
        sampling = replace(sampling, graph=graph)
        choices["cutoff"] = {
            "chosen": graph.max_cutoff,
            "candidates": [{"cutoff": reach.cutoff, "error": reach.error} for reach in judged],
        }
    sampled: Sequence[Sampled] = [block.sampled(sampling) for block in blocks]
    choices |= {one.block.kind: one.choices for one in sampled if one.choices is not None}
    size = rms(np.concatenate([t.reshape(-1) for t in targets]))
    basis = PartBasis(
        part,
        tuple(one.block for one in sampled),
        size if size > 0.0 else 1.0,
        frame_rows=_frame_rows(problem, found, options) if part == "force" else (),
    )
    return Built(basis, tuple(one.extent for one in sampled), choices)


def _frame_rows(problem: Problem, found: Survey, options: FitOptions) -> tuple[FrameRows, ...]:
    n_species = len(problem.labels)
    scales = {name: KINDS[name].scale(found.frames, n_species) for name in frame_weights(problem, options)}
    for name, scale in scales.items():
        if scale == 0.0 and KINDS[name].is_asked(options):
            raise SpecError(
                f"--{name}-weight asks for rows of {name}, and the data do not tell how large one is (all alike, or too"
                " few): give more frames that state it, or leave it out"
            )
    return tuple(FrameRows(name, scale, KINDS[name].columns(n_species)) for name, scale in scales.items() if scale > 0)
