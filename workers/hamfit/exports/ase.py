"""A fitted model as an ASE calculator: energy, forces and stress of Atoms, for ASE's dynamics and optimisers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from hamfit.errors import ModelError, SpecError
from hamfit.exports.kinetics import checked_masses
from hamfit.frames import Frame
from hamfit.graphs import BondGraph
from hamfit.model import Model
from hamfit.types import FloatArray, IntArray

#: Relative difference of masses beyond which dynamics are not those of the training data.
_MASS_TOLERANCE = 1e-3


class StressError(ModelError, PropertyNotImplementedError):
    """Stress was asked for where there is none; ASE's own code takes it for a property that is not implemented."""


class HamfitCalculator(Calculator):
    """Serves a model's potential energy V(q) to ASE.

    Implements energy, free_energy (the same), forces, and stress = -virial / volume for cells that repeat in all three
    directions. Cells may be triclinic, smaller than the cutoff, and periodic in some directions only. A model in `ase`
    units (angstrom, eV, amu) is what ASE expects; a model in `lj` units is served with its numbers as they are, so
    lengths, energies, masses and time steps of the Atoms are reduced ones too.

    model: a Model, or the path of one. labels: the model's species for each chemical symbol, such as {"Ar": "1"}; a
    symbol that is itself a species needs none. bonds (B, 2) and bond_types (B,), indexing the model's bond labels (all
    0 when not given), for models of bonded networks.

    Raises ModelError for models that are no potential for Atoms: without forces, in one or two dimensions, with a
    kinetic energy other than p^2/2m, or with bonds where none are given; SpecError for labels that the model lacks.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 (ASE declares it so)

    def __init__(
        self,
        model: Model | str | Path,
        *,
        labels: Mapping[str, str] | None = None,
        bonds: npt.ArrayLike | None = None,
        bond_types: npt.ArrayLike | Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model if isinstance(model, Model) else Model.open(model)
        self._labels = dict(labels or {})
        unknown = sorted(set(self._labels.values()) - set(self.model.labels))
        if unknown:
            raise SpecError(
                f"labels name the species {', '.join(unknown)}: the model has {', '.join(self.model.labels)}"
            )
        self._bonds = None if bonds is None else np.asarray(bonds, dtype=np.int64).reshape(-1, 2)
        self._bond_types = _types(self._bonds, bond_types)
        _refuse_unservable(self.model, self._bonds)
        self._masses = checked_masses(self.model, "ASE")
        self._has_warned = False
        self._without_virial = [b for b in self.model.blocks if b.part == "force" and not b.has_virial]

    def masses(self, atoms: Any) -> FloatArray:
        """The masses that the model learned for the atoms' species, (N,), for ``atoms.set_masses``.

        Raises ModelError when the model was fitted without velocities, or lacks one of the species.
        """
        if self._masses is None:
            raise ModelError("the model was fitted without velocities, so it knows no masses: set those of the system")
        return self._masses[self._species(atoms)]

    def calculate(
        self,
        atoms: Any = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill ``results``; called by ASE. StressError for a stress that does not exist, and the errors of hamfit."""
        super().calculate(atoms, list(properties), list(system_changes))
        known: Any = self.atoms
        frame = self._frame(known)
        if known.has("momenta"):
            self._compare_masses(frame)
        has_volume = all(frame.periodic)
        if "stress" in properties:
            self._check_stress(has_volume)
        found = self.model.potential(frame, virial=has_volume and not self._without_virial)
        self.results = {"energy": found.energy, "free_energy": found.energy, "forces": found.forces}
        if found.virial is not None and frame.box is not None:
            stress = -found.virial / abs(float(np.linalg.det(frame.box)))
            # Voigt order of ASE: xx, yy, zz, yz, xz, xy
            self.results["stress"] = stress[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]

    def _frame(self, atoms: Any) -> Frame:
        periodic = tuple(bool(flag) for flag in atoms.pbc)
        return Frame(
            q=np.array(atoms.positions, dtype=np.float64),
            species=self._species(atoms),
            labels=self.model.labels,
            masses=np.array(atoms.get_masses(), dtype=np.float64),
            box=np.array(atoms.cell.array, dtype=np.float64) if any(periodic) else None,
            periodic=periodic,
            bonds=self._bonds,
            bond_types=self._bond_types,
            bond_labels=self.model.bond_labels if self._bonds is not None else (),
        )

    def _species(self, atoms: Any) -> IntArray:
        symbols = atoms.get_chemical_symbols()
        names = {symbol: self._labels.get(symbol, symbol) for symbol in set(symbols)}
        unknown = sorted(symbol for symbol, name in names.items() if name not in self.model.labels)
        if unknown:
            known = ", ".join(self.model.labels)
            raise ModelError(
                f"the model does not know {', '.join(unknown)} (its species: {known}): say which is which, such as"
                f" labels={{'{unknown[0]}': '{self.model.labels[0]}'}}"
            )
        index = {symbol: self.model.labels.index(name) for symbol, name in names.items()}
        return np.array([index[symbol] for symbol in symbols], dtype=np.int64)

    def _compare_masses(self, frame: Frame) -> None:
        """Warn, once, that atoms move with other masses than the model learned."""
        if self._masses is None or self._has_warned:
            return
        learned = self._masses[frame.species]
        off = np.abs(frame.masses / learned - 1.0)
        if np.nanmax(off, initial=0.0) > _MASS_TOLERANCE:
            at = int(np.nanargmax(off))
            self._has_warned = True
            warnings.warn(
                f"atoms of the model's species {frame.labels[frame.species[at]]} have mass {frame.masses[at]:g} where"
                f" it learned {learned[at]:g}: use atoms.set_masses(calculator.masses(atoms)) for its own dynamics",
                stacklevel=2,
            )

    def _check_stress(self, has_volume: bool) -> None:
        for block in self._without_virial:
            raise StressError(
                f"the {block.kind} block {block.form}, so the model has no stress: do not ask for it"
            )
        if not has_volume:
            raise StressError(
                "the atoms are not periodic in all three directions, so there is no volume and no stress:"
                " set pbc, or do not ask for it"
            )


def _types(bonds: IntArray | None, types: npt.ArrayLike | None) -> IntArray | None:
    if bonds is None:
        if types is not None:
            raise SpecError("bond_types are given without bonds: give both")
        return None
    return np.zeros(len(bonds), dtype=np.int64) if types is None else np.asarray(types, dtype=np.int64)


def _refuse_unservable(model: Model, bonds: IntArray | None) -> None:
    if model.dim != 3:
        raise ModelError(
            f"the model is {model.dim}-dimensional, where ASE's atoms have three dimensions: use hamfit itself"
        )
    if not any(block.part == "force" for block in model.blocks):
        raise ModelError("the model has no forces (it was fitted to velocities only): fit data that have forces")
    for block in model.blocks:
        if isinstance(block.graph, BondGraph) and bonds is None:
            raise ModelError("the model acts along bonds, which ASE's atoms do not have: give bonds=[(i, j), ..]")
