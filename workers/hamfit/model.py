"""A learned Hamiltonian: blocks with their coefficients, constants, and where it all came from.

H(q, p) = sum_s c_s N_s + sum_k theta_k Phi_k(q, p). A model without a kinetic block uses |p|^2 / 2m with the
masses of the frame it is given. Stored as a bundle (``bundles``): attributes, ``features/``, ``readout/``
and diagnostics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from hamfit.bundles import kind_of, read_bundle, within, write_bundle
from hamfit.errors import ModelError, StoreError
from hamfit.features.block import AbstractBlock, Evaluator
from hamfit.features.registry import blocks_from_store, blocks_to_store
from hamfit.features.source import Range, Source
from hamfit.frames import Frame
from hamfit.graphs import AbstractGraphs, FrameGraphs
from hamfit.types import FloatArray

MODEL_SCHEMA = 1


@dataclass(frozen=True, slots=True, eq=False)
class Potential:
    """What a model says of the positions of one frame, in the units of its data."""

    energy: float
    """V(q), with the constants where they are known."""
    forces: FloatArray
    """-dV/dq of every particle, (N, d)."""
    virial: FloatArray | None
    """W_ab = -dV/d(eps_ab) under the strain q_b -> q_b + sum_a q_a eps_ab of positions and box, (d, d), symmetric.

    The pressure of a periodic system is (2 T + trace W) / (d volume), its stress (tension positive) -W / volume.
    None where it was not asked for.
    """
    outside: int = 0
    """Edges outside the range seen in training, over all blocks that have edges; every pair is an edge of both ends."""
    edges: int = 0
    """Edges in all."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """Energies, forces and velocities of frames."""

    blocks: tuple[AbstractBlock, ...]
    """The sampled features."""
    theta: tuple[FloatArray, ...]
    """Coefficients of each block."""
    constants: FloatArray
    """Energy of a particle of each species beside the features, (S,); nan where no energy was known."""
    labels: tuple[str, ...]
    """Species."""
    bond_labels: tuple[str, ...]
    """Bond types."""
    dim: int
    """Number of space dimensions."""
    units: Mapping[str, Any]
    """Units of the data it was fitted to."""
    extents: Mapping[str, FloatArray] = field(default_factory=dict)
    """Shortest and longest edge seen in training, by block kind, (channels, 2)."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Options, data digests, package versions and the report of the fit."""
    factors: Mapping[str, FloatArray] = field(default_factory=dict)
    """For each part the (n, k) matrix G with covariance of theta = G G^T."""
    _compiled: dict[int, Evaluator] = field(default_factory=dict, init=False, repr=False)
    """Blocks compiled so far, by their position."""

    def adapt(self, frame: Frame) -> Frame:
        """The frame in the model's species and bond labels; ModelError when it does not fit the model."""
        if frame.dim != self.dim:
            raise ModelError(f"the model is {self.dim}-dimensional, the frame {frame.dim}-dimensional: use other data")
        return frame.relabel(self.labels, self.bond_labels)

    def constant(self, frame: Frame) -> float:
        """Energy of an adapted frame's particles beside the features, which moves nothing; 0 where it is unknown."""
        return float(np.nan_to_num(self.constants)[frame.species].sum())

    def potential_energy(self, frame: Frame) -> float:
        """V(q) with the constants where they are known, in the data's energy unit."""
        return self.potential(frame, virial=False).energy

    def potential(self, frame: Frame, *, virial: bool = True, graphs: AbstractGraphs | None = None) -> Potential:
        """Energy, forces and virial together, every block evaluated once.

        ``graphs`` may know what was prepared before. Raises ModelError when a virial is asked of a block that has none
        (the field block), DataError and GraphError as the blocks do.
        """
        frame = self.adapt(frame)
        strained = np.zeros((frame.dim, frame.dim)) if virial else None
        energy, gradient, outside, edges = self._evaluated(frame, "force", strained, graphs)
        if strained is not None:
            # no torque acts on the whole, so the virial is symmetric but for rounding
            strained = 0.5 * (strained + strained.T)
        return Potential(self.constant(frame) + energy, -gradient, strained, outside, edges)

    def kinetic_energy(self, frame: Frame) -> float:
        """T(p), in the data's energy unit; ModelError when the frame has no momenta."""
        frame = self.adapt(frame)
        if frame.p is None:
            raise ModelError("the frame has no momenta, so its kinetic energy is unknown: give velocities")
        if not self._of("velocity"):
            return float(0.5 * np.sum(frame.p**2 / frame.masses[:, None]))
        # T(0) = 0 fixes the constant that velocities leave open
        rest = replace(frame, p=np.zeros_like(frame.p))
        return self._evaluated(frame, "velocity")[0] - self._evaluated(rest, "velocity")[0]

    def energy(self, frame: Frame) -> float:
        """H(q, p): potential energy, and kinetic energy where the frame has momenta."""
        potential = self.potential_energy(frame)
        return potential if frame.p is None else potential + self.kinetic_energy(frame)

    def forces(self, frame: Frame, *, graphs: AbstractGraphs | None = None) -> FloatArray:
        """-dH/dq of every particle, (N, d)."""
        return self.potential(frame, virial=False, graphs=graphs).forces

    def velocities(self, frame: Frame) -> FloatArray:
        """dH/dp of every particle, (N, d); ModelError when the frame has no momenta."""
        frame = self.adapt(frame)
        if frame.p is None:
            raise ModelError("the frame has no momenta, so its velocities are unknown: give velocities")
        if not self._of("velocity"):
            return frame.p / frame.masses[:, None]
        return self._evaluated(frame, "velocity")[1]

    def _evaluated(
        self, frame: Frame, part: str, virial: FloatArray | None = None, graphs: AbstractGraphs | None = None
    ) -> tuple[float, FloatArray, int, int]:
        """Energy, gradient, edges outside and all edges of one part; fills ``virial``. Coefficients are compiled in."""
        energy, gradient, outside, edges = 0.0, np.zeros_like(frame.q), 0, 0
        for position, source, seen in self._sources(frame, part, graphs or FrameGraphs()):
            if position not in self._compiled:
                self._compiled[position] = self.blocks[position].compiled(self.theta[position], seen)
            found, slope = self._compiled[position](source, virial)
            energy += found
            gradient += slope
            if source.range is not None:
                outside, edges = outside + source.range.outside, edges + source.range.total
        return energy, gradient, outside, edges

    def _sources(
        self, frame: Frame, part: str, graphs: AbstractGraphs
    ) -> Iterator[tuple[int, Source, FloatArray | None]]:
        """The blocks of a part, by their positions, with the frame made ready for each and the extent of training."""
        for position, block in enumerate(self.blocks):
            if block.part == part:
                seen, source = block.extent(self.extents.get(block.kind)), block.prepare(frame, graphs)
                counting = Range(seen) if seen is not None and part == "force" else None
                yield position, replace(source, range=counting), seen

    def extent_of(self, block: AbstractBlock, n_channels: int) -> FloatArray:
        """Shortest and longest edge of training of a block's channels, (C, 2); nan where that is not known."""
        seen = block.extent(self.extents.get(block.kind))
        return np.full((n_channels, 2), np.nan) if seen is None else seen

    def force_uncertainty(self, frame: Frame) -> FloatArray:
        """Standard error of every force component from the noise of the training data, (N, d)."""
        return self._uncertainty(frame, "force")

    def velocity_uncertainty(self, frame: Frame) -> FloatArray:
        """Standard error of every velocity component from the noise of the training data, (N, d)."""
        return self._uncertainty(frame, "velocity")

    def _uncertainty(self, frame: Frame, part: str) -> FloatArray:
        frame = self.adapt(frame)
        if part not in self.factors:
            raise ModelError(f"the model holds no covariance of its {part} part: fit again with this version")
        graphs = FrameGraphs()
        sources = [(block, block.prepare(frame, graphs)) for block in self._of(part)]
        factor = self.factors[part]
        out = np.empty(frame.q.shape)
        for start in range(0, frame.n_particles, 256):
            centres = np.arange(start, min(start + 256, frame.n_particles), dtype=np.int64)
            rows = np.hstack([block.rows(source, centres) for block, source in sources])
            out[centres] = np.sqrt(np.sum((rows @ factor) ** 2, axis=1)).reshape(centres.size, -1)
        return out

    def _of(self, part: str) -> list[AbstractBlock]:
        return [block for block in self.blocks if block.part == part]

    def save(self, path: str | Path) -> None:
        """Write the model as a bundle, replacing one that is there; StoreError on a full or read-only disk."""
        entries, arrays = blocks_to_store(self.blocks)
        for position, theta in enumerate(self.theta):
            arrays[f"readout/{position}/coefficients"] = theta
        arrays["readout/constants"] = self.constants
        for kind, extent in self.extents.items():
            arrays[f"extents/{kind}"] = extent
        for part, factor in self.factors.items():
            arrays[f"readout/factor/{part}"] = factor
        attrs = {
            "blocks": entries,
            "labels": list(self.labels),
            "bond_labels": list(self.bond_labels),
            "dim": self.dim,
            "units": dict(self.units),
            "provenance": dict(self.provenance),
        }
        write_bundle(Path(path), "model", MODEL_SCHEMA, attrs, arrays)

    @classmethod
    def open(cls, path: str | Path) -> Model:
        """Read a model; StoreError when it is missing, damaged or written by a newer version."""
        attrs, arrays = read_bundle(Path(path), "model", MODEL_SCHEMA)
        try:
            blocks = blocks_from_store(attrs["blocks"], arrays)
            return cls(
                blocks=blocks,
                theta=tuple(arrays[f"readout/{k}/coefficients"] for k in range(len(blocks))),
                constants=arrays["readout/constants"],
                labels=tuple(attrs["labels"]),
                bond_labels=tuple(attrs["bond_labels"]),
                dim=int(attrs["dim"]),
                units=attrs["units"],
                extents=within("extents", arrays),
                provenance=attrs["provenance"],
                factors=within("readout/factor", arrays),
            )
        except KeyError as error:
            raise StoreError(f"model {path} lacks {error}: it is damaged; fit it again") from error

    def extrapolated(self, frame: Frame) -> tuple[int, int]:
        """Edges of the frame outside the range seen in training, and edges in all, over all blocks that have edges.

        As ``potential`` counts them, without computing anything else.
        """
        outside = total = 0
        for _, source, _ in self._sources(self.adapt(frame), "force", FrameGraphs()):
            if source.range is not None:
                for _ in source.pieces(4096):
                    pass
                outside, total = outside + source.range.outside, total + source.range.total
        return outside, total

    @property
    def has_virial(self) -> bool:
        """Whether ``potential`` can give a virial."""
        return all(block.has_virial for block in self._of("force"))

    @property
    def conserves_momentum(self) -> bool:
        """Whether the total momentum is constant: whether no block depends on absolute positions."""
        return all(block.conserves_momentum for block in self.blocks)


def is_model(path: str | Path) -> bool:
    """Whether a path holds a model of any version."""
    return kind_of(Path(path)) == "model"


def describe(path: str | Path) -> dict[str, Any]:
    """What ``hamfit info`` says of a model."""
    model = Model.open(path)
    return {
        "kind": "model",
        "path": str(path),
        "labels": list(model.labels),
        "bond_labels": list(model.bond_labels),
        "dim": model.dim,
        "units": dict(model.units),
        "blocks": [{"kind": block.kind, "part": block.part, "columns": block.n_columns} for block in model.blocks],
        "constants": [None if np.isnan(c) else float(c) for c in model.constants],
        "ranges": {kind: extent.tolist() for kind, extent in model.extents.items()},
        "provenance": dict(model.provenance),
    }


def theta_of_blocks(blocks: Sequence[AbstractBlock], theta: FloatArray) -> tuple[FloatArray, ...]:
    """Cut the coefficients of all blocks into those of each."""
    ends = np.cumsum([block.n_columns for block in blocks])[:-1]
    return tuple(np.ascontiguousarray(part) for part in np.split(theta, ends))
