"""What is to be fitted: the datasets joined, the blocks resolved, the graph decided; before any number is read.

Contradictions between options and data are found here, so that a fit fails in its first moments or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hamfit.block_names import BUILT_IN, DEFAULT, WITHOUT_VELOCITIES
from hamfit.data import Dataset
from hamfit.errors import DataError, SpecError
from hamfit.features.block import AbstractBlock, Part
from hamfit.features.registry import block_type
from hamfit.fitting.frame_rows import KINDS
from hamfit.graphs import AbstractGraph, AllPairsGraph, BondGraph, CutoffGraph, parse_cutoffs
from hamfit.options import FitOptions


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """The data of a fit and the families of features asked for."""

    datasets: tuple[Dataset, ...]
    """Data, all in the same units and dimension."""
    labels: tuple[str, ...]
    """Species of all datasets."""
    bond_labels: tuple[str, ...]
    """Bond types of all datasets."""
    blocks: tuple[type[AbstractBlock], ...]
    """Families of blocks to sample."""
    graph: AbstractGraph | None
    """Graph of the blocks that need one; None when none does or the cutoff is to be chosen."""
    stated: frozenset[str]
    """Kinds of rows of frames that any trajectory states."""

    @property
    def dim(self) -> int:
        """Number of space dimensions."""
        return self.datasets[0].dim

    def blocks_of(self, part: Part) -> tuple[type[AbstractBlock], ...]:
        """Those that contribute to one part, in their order."""
        return tuple(block for block in self.blocks if block.part == part)

    @property
    def n_channels(self) -> int:
        """Kinds of edge; with a cutoff still to be chosen, the pairs of species."""
        if self.graph is not None:
            return self.graph.n_channels
        return len(self.labels) * (len(self.labels) + 1) // 2


def pose(datasets: Sequence[Dataset], options: FitOptions) -> Problem:
    """Join the datasets and resolve the blocks; DataError or SpecError when they contradict each other."""
    first = datasets[0]
    for other in datasets[1:]:
        if other.units != first.units:
            raise DataError(
                f"{other.path} is in {other.units.name} units, {first.path} in {first.units.name}: ingest both alike"
            )
        if other.dim != first.dim:
            raise DataError(
                f"{other.path} is {other.dim}-dimensional, {first.path} {first.dim}-dimensional: fit them apart"
            )
    labels = tuple(dict.fromkeys(label for d in datasets for label in d.labels))
    bond_labels = tuple(dict.fromkeys(label for d in datasets for label in d.bond_labels))
    trajectories = [t for d in datasets for t in d.trajectories]
    if not any(t.n_frames for t in trajectories):
        raise DataError(f"{first.path} holds no frames: ingest or simulate some")
    blocks = _blocks(datasets, options)
    if like := [block.kind for block in blocks if block.needs_like_masses]:
        _check_masses(datasets, like[0])
    graph = None
    if any(block.needs_graph != "no" for block in blocks):
        graph = _graph(datasets, labels, bond_labels, blocks, options)
    stated = frozenset(name for name, kind in KINDS.items() if any(kind.is_known(t) for t in trajectories))
    for name, kind in KINDS.items():
        if kind.is_asked(options) and name not in stated:
            raise SpecError(f"{first.path} holds no {name}, which --{name}-weight asks for rows of: leave it out")
    found = Problem(tuple(datasets), labels, bond_labels, blocks, graph, stated)
    # what blocks cannot give is said now
    frame_weights(found, options)
    return found


def frame_weights(problem: Problem, options: FitOptions) -> dict[str, float]:
    """Weight of each kind of rows of frames beside the forces, of those that the data state and that count.

    SpecError where a block cannot give them.
    """
    blocks = problem.blocks_of("force")
    weights = {name: kind.weight(options, blocks) for name, kind in KINDS.items() if name in problem.stated}
    return {name: weight for name, weight in weights.items() if weight > 0.0}


def _blocks(datasets: Sequence[Dataset], options: FitOptions) -> tuple[type[AbstractBlock], ...]:
    trajectories = [(d, t) for d in datasets for t in d.trajectories]
    moving = all(t.has_velocities and t.has_momenta for _, t in trajectories)
    names: tuple[str, ...] = options.blocks or (DEFAULT if moving else WITHOUT_VELOCITIES)
    # in one order however they were named, so that columns are too
    order = {name: k for k, name in enumerate(BUILT_IN)}
    blocks = tuple(block_type(name) for name in sorted(names, key=lambda name: order.get(name, len(order))))
    moved, pushed = ([block.kind for block in blocks if block.part == part] for part in ("velocity", "force"))
    for dataset, trajectory in trajectories:
        where = f"trajectory {trajectory.name} of {dataset.path}"
        if moved and not (trajectory.has_velocities and trajectory.has_momenta):
            raise DataError(
                f"{where} has no velocities, which the {moved[0]} block needs: leave {moved[0]} out of --blocks"
            )
        if pushed and not trajectory.has_forces:
            raise DataError(f"{where} has no forces: dump them, or ingest with derivatives from the time series")
    return blocks


def _check_masses(datasets: Sequence[Dataset], kind: str) -> None:
    seen: dict[str, float] = {}
    for dataset in datasets:
        for trajectory in dataset.trajectories:
            for index in np.unique(trajectory.species):
                masses = trajectory.masses[trajectory.species == index]
                label = dataset.labels[int(index)]
                expected = seen.setdefault(label, float(masses[0]))
                if not np.allclose(masses, expected, rtol=1e-12, atol=0.0):
                    raise DataError(
                        f"species {label} of {dataset.path} has particles of different mass: "
                        f"the {kind} block is one per species, so give them different species"
                    )


def _graph(
    datasets: Sequence[Dataset],
    labels: tuple[str, ...],
    bond_labels: tuple[str, ...],
    blocks: Sequence[type[AbstractBlock]],
    options: FitOptions,
) -> AbstractGraph | None:
    if options.cutoff is not None:
        return CutoffGraph(labels, parse_cutoffs(str(options.cutoff), labels))
    trajectories = [t for d in datasets for t in d.trajectories]
    bonded = [t.bonds is not None for t in trajectories]
    wants_cutoff = [block.kind for block in blocks if block.needs_graph == "cutoff"]
    if any(bonded):
        if not all(bonded):
            raise DataError("some trajectories have bonds and some have none: give --cutoff, or fit them apart")
        if wants_cutoff:
            raise SpecError(f"the {wants_cutoff[0]} block needs a cutoff beside the bonds of the data: give --cutoff")
        return BondGraph(bond_labels)
    if any(any(t.periodic) for t in trajectories) or wants_cutoff:
        return None
    return AllPairsGraph(labels)
