"""Rows that belong to a frame and not to a particle: its energy, the components of its stress.

A kind of such rows says what a frame states, which numbers of the blocks are compared with it, and which columns of its
own it has beside the features. Nothing else in a fit knows what they mean: they are a tuple of ``FrameRows``, each with
a state, a weight and lines in the report under its name. Every row is divided by the number of particles, so that
frames of all sizes count alike, and by the scale, the rms of what is left of the targets over the first look.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hamfit.data import Trajectory
from hamfit.errors import DataError, SpecError
from hamfit.features.block import AbstractBlock
from hamfit.frames import Frame
from hamfit.options import FitSpec
from hamfit.relative import rms
from hamfit.types import FloatArray

#: Targets below this share of what they are differences of are rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class FrameRows:
    """Rows of one kind in the basis of a fit."""

    name: str
    """Name of the kind, and of its state."""
    scale: float
    """rms of a target per particle: rows are divided by it."""
    columns: int
    """Columns of their own beside the features."""


@dataclass(frozen=True, slots=True)
class Pooled:
    """What all blocks of a part say of one frame, once it is asked for."""

    features: Callable[[], FloatArray]
    """Pooled features, (n_raw,)."""
    virials: Callable[[], FloatArray]
    """Virials of the pooled features, (n_raw, d, d)."""


class AbstractKind(ABC):
    """One kind of rows of frames."""

    name: ClassVar[str]

    @abstractmethod
    def weight(self, options: FitSpec, blocks: Sequence[type[AbstractBlock]]) -> float:
        """Weight of all such rows together beside all rows of particles; 0 where they are none.

        SpecError where the options ask for rows that a block cannot give.
        """

    @abstractmethod
    def is_asked(self, options: FitSpec) -> bool:
        """Whether the options ask for such rows in so many words, so that data without them are refused."""

    @abstractmethod
    def is_known(self, trajectory: Trajectory) -> bool:
        """Whether the frames of a trajectory state it."""

    def columns(self, n_species: int) -> int:
        """Columns of their own."""
        return 0

    @abstractmethod
    def scale(self, frames: Sequence[Frame], n_species: int) -> float:
        """rms of a target per particle, after what its own columns explain; 0 where that cannot be told."""

    @abstractmethod
    def targets(self, frame: Frame) -> FloatArray | None:
        """What the frame states, (m,); None where it states nothing."""

    @abstractmethod
    def rows(self, pooled: Pooled) -> FloatArray:
        """What the blocks say, (m, n_raw)."""

    def own(self, frame: Frame, columns: int) -> FloatArray:
        """Columns of its own, (m, columns), or (1, columns) where they are the same for all m rows."""
        return np.zeros((1, columns))


class Energies(AbstractKind):
    """Potential energies, with one constant for a particle of each species."""

    name: ClassVar[str] = "energy"

    def weight(self, options: FitSpec, blocks: Sequence[type[AbstractBlock]]) -> float:
        """As given, else 1 where forces that vanish by symmetry leave a block undetermined, and 0 elsewhere."""
        if options.energy_weight is not None:
            return options.energy_weight
        return 1.0 if any(block.needs_energies for block in blocks) else 0.0

    def is_asked(self, options: FitSpec) -> bool:
        """See ``AbstractKind.is_asked``."""
        return bool(options.energy_weight)

    def is_known(self, trajectory: Trajectory) -> bool:
        """See ``AbstractKind.is_known``."""
        return trajectory.has_energies

    def columns(self, n_species: int) -> int:
        """One constant for each species."""
        return n_species

    def scale(self, frames: Sequence[Frame], n_species: int) -> float:
        """rms over frames of the energy per particle, after what the composition explains."""
        known = [frame for frame in frames if frame.potential_energy is not None]
        if len(known) < 2:
            return 0.0
        counts = np.array([np.bincount(frame.species, minlength=n_species) for frame in known], dtype=np.float64)
        energies = np.array([frame.potential_energy for frame in known], dtype=np.float64)
        if np.linalg.matrix_rank(counts) >= len(known):
            return 0.0
        rest = energies - counts @ np.linalg.lstsq(counts, energies, rcond=None)[0]
        particles = counts.sum(axis=1)
        scale = rms(rest / particles)
        return scale if scale > _ROUNDING * rms(energies / particles) else 0.0

    def targets(self, frame: Frame) -> FloatArray | None:
        """The potential energy, (1,)."""
        return None if frame.potential_energy is None else np.array([frame.potential_energy])

    def rows(self, pooled: Pooled) -> FloatArray:
        """The features, (1, n_raw)."""
        return pooled.features()[None]

    def own(self, frame: Frame, columns: int) -> FloatArray:
        """How many particles of each species there are, (1, columns)."""
        return np.bincount(frame.species, minlength=columns)[None].astype(np.float64)


class Stresses(AbstractKind):
    """Stresses, as virials W = -stress * volume: d (d + 1) / 2 components of a frame."""

    name: ClassVar[str] = "stress"

    def weight(self, options: FitSpec, blocks: Sequence[type[AbstractBlock]]) -> float:
        """As given."""
        without = [block.kind for block in blocks if not block.has_virial_rows]
        if options.stress_weight > 0.0 and without:
            raise SpecError(
                f"the {without[0]} block does not know the virials of its features, so stresses cannot be rows: leave"
                " --stress-weight or the block out"
            )
        return options.stress_weight

    def is_asked(self, options: FitSpec) -> bool:
        """See ``AbstractKind.is_asked``."""
        return options.stress_weight > 0.0

    def is_known(self, trajectory: Trajectory) -> bool:
        """See ``AbstractKind.is_known``."""
        return trajectory.has_stresses

    def scale(self, frames: Sequence[Frame], n_species: int) -> float:
        """rms over components and frames of the virial per particle."""
        known = [targets / frame.n_particles for frame in frames if (targets := self.targets(frame)) is not None]
        return rms(np.concatenate(known)) if known else 0.0

    def targets(self, frame: Frame) -> FloatArray | None:
        """The virial's upper triangle, row by row, (d (d + 1) / 2,). DataError for a stress without a volume."""
        if frame.stress is None:
            return None
        if frame.box is None or not all(frame.periodic):
            raise DataError("the frame has a stress and no volume: give a box that is periodic in all directions")
        virial = -frame.stress * abs(float(np.linalg.det(frame.box)))
        return np.asarray(virial[np.triu_indices(frame.dim)])

    def rows(self, pooled: Pooled) -> FloatArray:
        """The features' virials, (d (d + 1) / 2, n_raw)."""
        virials = pooled.virials()
        # as stresses are: no torque acts on the whole, so both are symmetric but for rounding
        symmetric = 0.5 * (virials + virials.transpose(0, 2, 1))
        return np.ascontiguousarray(symmetric[:, *np.triu_indices(virials.shape[1])].T)


KINDS: Mapping[str, AbstractKind] = {kind.name: kind for kind in (Energies(), Stresses())}
"""All kinds of rows of frames."""
