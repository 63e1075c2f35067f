"""Sampling the blocks of a fit from the survey: the one place that knows every kind of block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hamfit.errors import SpecError
from hamfit.features.block import AbstractBlock, Part
from hamfit.features.field import FieldBlock
from hamfit.features.kinetic import KineticBlock, momentum_edges
from hamfit.features.manybody import ManyBodyBlock
from hamfit.features.pair import PairBlock
from hamfit.features.radial import Taper
from hamfit.fitting.basis import PartBasis
from hamfit.fitting.choosing import RadialChoice, RadialSettings, choose_radial
from hamfit.fitting.part_stream import targets_of
from hamfit.fitting.problem import Problem, channel_cutoffs
from hamfit.fitting.reach import TRIAL_FEATURES, choose_reach
from hamfit.fitting.survey import Survey, SurveySample, sample_edges
from hamfit.graphs import AbstractGraph, CutoffGraph
from hamfit.options import FitOptions
from hamfit.types import FloatArray

#: Weight of energies with the many-body block.
DEFAULT_ENERGY_WEIGHT = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """A part with its blocks sampled, and what the survey saw of their edges."""

    part: PartBasis
    """Raw columns."""
    extents: tuple[FloatArray | None, ...]
    """Shortest and longest edge of every channel, for each block; None where a block has no radial channels."""
    choices: dict[str, Any]
    """How the features were chosen, for the report."""


def build_parts(problem: Problem, found: Survey, options: FitOptions) -> list[Built]:
    """Sample all blocks asked for, grouped into the independent parts of the problem."""
    out = []
    if "kinetic" in problem.kinds:
        out.append(_velocity_part(problem, found, options))
    if set(problem.kinds) - {"kinetic"}:
        out.append(_force_part(problem, found, options))
    return out


def _velocity_part(problem: Problem, found: Survey, options: FitOptions) -> Built:
    targets = [targets_of(frame, "velocity") for frame in found.frames]
    rng = np.random.default_rng([options.seed, 3])
    sample = sample_edges(found, momentum_edges, targets, rng)
    cutoffs = np.full(len(problem.labels), np.inf)
    # |p|^2 is the natural input: its direct link is the kinetic energy of a free particle
    settings = RadialSettings(options.features, "r2", "shift", "elm", options.direct_links)
    radial, _ = choose_radial(sample, cutoffs, settings, options.seed)
    block = KineticBlock(radial, problem.labels)
    return _built("velocity", (block,), (sample.extent(radial.n_channels),), targets, {})


def _force_part(problem: Problem, found: Survey, options: FitOptions) -> Built:
    targets = [targets_of(frame, "force") for frame in found.frames]
    choices: dict[str, Any] = {}
    graph = problem.graph
    if graph is None and {"pair", "manybody"} & set(problem.kinds):

        def make(candidate: CutoffGraph) -> list[AbstractBlock]:
            few = options.with_changes(features=TRIAL_FEATURES, sampler="elm")
            return [block for block, _ in _blocks(problem, candidate, found, few, targets, {})]

        graph, judged = choose_reach(found, problem.labels, make)
        choices["cutoff"] = {
            "chosen": graph.max_cutoff,
            "candidates": [{"cutoff": reach.cutoff, "error": reach.error} for reach in judged],
        }
    sampled = _blocks(problem, graph, found, options, targets, choices)
    blocks, extents = tuple(block for block, _ in sampled), tuple(extent for _, extent in sampled)
    built = _built("force", blocks, extents, targets, choices)
    scale = _energy_scale(found, len(problem.labels)) if energy_weight(problem, options) > 0.0 else 0.0
    if scale == 0.0:
        return built
    return replace(built, part=replace(built.part, energy_scale=scale, n_constants=len(problem.labels)))


def _blocks(
    problem: Problem,
    graph: AbstractGraph | None,
    found: Survey,
    options: FitOptions,
    targets: Sequence[FloatArray],
    choices: dict[str, Any],
) -> list[tuple[AbstractBlock, FloatArray | None]]:
    """The blocks of the force part, each with the lengths of edges that the survey saw."""
    out: list[tuple[AbstractBlock, FloatArray | None]] = []
    if "pair" in problem.kinds:
        assert graph is not None
        rng = np.random.default_rng([options.seed, 4])
        sample = sample_edges(found, graph.prepare, targets, rng)
        smooth = "manybody" in problem.kinds and options.taper == "auto"
        radial, judged = choose_radial(sample, channel_cutoffs(graph), _pair_settings(options, smooth), options.seed)
        out.append((PairBlock(radial, graph), sample.extent(radial.n_channels)))
        choices["pair"] = _choice(radial.input_maps, radial.tapers, sample, judged)
    if "manybody" in problem.kinds:
        if not isinstance(graph, CutoffGraph):
            raise SpecError("the many-body block needs a cutoff: give --cutoff")
        block = ManyBodyBlock.sample(
            found.frames,
            graph,
            n_features=options.features,
            n_radial=options.radial,
            l_max=options.l_max,
            sampler="swim" if options.sampler in ("swim", "swim-gradient") else "elm",
            direct_links=options.direct_links,
            rng=np.random.default_rng([options.seed, 5]),
        )
        out.append((block, None))
    if "field" in problem.kinds:
        sampler = "swim" if options.sampler in ("swim", "swim-gradient") else "elm"
        rng = np.random.default_rng([options.seed, 6])
        field = FieldBlock.sample(found.frames, n_features=options.features, sampler=sampler, rng=rng)
        out.append((field, None))
    return out


def energy_weight(problem: Problem, options: FitOptions) -> float:
    """Weight of the energies beside the forces: as given, else 1 for the many-body block and 0 without it.

    Pair functions are fixed by forces alone; environments are not, where forces vanish by symmetry.
    """
    if not problem.has_energies:
        return 0.0
    if options.energy_weight is not None:
        return options.energy_weight
    return DEFAULT_ENERGY_WEIGHT if "manybody" in problem.kinds else 0.0


def _energy_scale(found: Survey, n_species: int) -> float:
    """rms over frames of the energy per particle, after what the composition explains; 0 when that cannot be told."""
    frames = found.energy_frames()
    if len(frames) < 2:
        return 0.0
    counts = np.array([np.bincount(frame.species, minlength=n_species) for frame in frames], dtype=np.float64)
    energies = np.array([frame.potential_energy for frame in frames], dtype=np.float64)
    if np.linalg.matrix_rank(counts) >= len(frames):
        return 0.0
    rest = energies - counts @ np.linalg.lstsq(counts, energies, rcond=None)[0]
    particles = counts.sum(axis=1)
    scale = float(np.sqrt(np.mean((rest / particles) ** 2)))
    # what is left of equal energies is rounding
    return scale if scale > 1e-9 * float(np.sqrt(np.mean((energies / particles) ** 2))) else 0.0


def _pair_settings(options: FitOptions, smooth: bool) -> RadialSettings:
    taper: Taper | None = "smooth" if options.taper == "smooth" or smooth else None
    if options.taper == "none":
        taper = "shift"
    return RadialSettings(
        n_features=options.features,
        input_map=None if options.input_map == "auto" else options.input_map,
        taper=taper,
        sampler=None if options.sampler == "auto" else options.sampler,
        links=options.direct_links,
    )


def _choice(
    input_maps: Sequence[str], tapers: Sequence[str], sample: SurveySample, judged: Sequence[Any]
) -> dict[str, Any]:
    def row(choice: RadialChoice, error: float) -> dict[str, Any]:
        return {
            "input_maps": list(choice.input_maps),
            "taper": choice.taper,
            "sampler": choice.sampler,
            "error": error,
        }

    return {
        "input_maps": list(input_maps),
        "taper": tapers[0],
        "sampled_rows": int(sample.targets.size),
        "candidates": [row(j.choice, j.error) for j in judged],
    }


def _built(
    part: Part,
    blocks: tuple[AbstractBlock, ...],
    extents: tuple[FloatArray | None, ...],
    targets: Sequence[FloatArray],
    choices: dict[str, Any],
) -> Built:
    size = float(np.sqrt(np.mean(np.concatenate([t.reshape(-1) for t in targets]) ** 2)))
    return Built(PartBasis(part, blocks, size if size > 0.0 else 1.0), extents, choices)
