"""Units, made consistent once, at the door.

Inside a dataset one law holds without conversion factors: force equals the time derivative of momentum,
numerically. Two families of units obey it here: `lj` (reduced units, any unit of length, energy and mass) and
`ase` (angstrom, eV, amu, and the time that follows from them). LAMMPS's `metal`, `real`, `si` and `electron`
do not: in metal units 1 eV/(A amu) is 9648.533 A/ps^2. They exist here only as `InputUnits`, a set of factors
that leads into `ase`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from hamfit.errors import DataError, StoreError


@dataclass(frozen=True, slots=True)
class Units:
    """A consistent system: mass * length / time^2 is energy / length, and energy is mass * length^2 / time^2."""

    name: str
    """`lj` or `ase`."""
    length: str
    energy: str
    mass: str
    time: str

    @property
    def force(self) -> str:
        """Name of the unit of force."""
        return f"{self.energy}/{self.length}"

    @property
    def velocity(self) -> str:
        """Name of the unit of velocity."""
        return f"{self.length}/({self.time})"

    @property
    def boltzmann(self) -> float:
        """Boltzmann's constant in units of energy per unit of temperature: 1 in `lj`, eV/K in `ase`.

        Raises DataError for a system whose temperatures have no agreed unit.
        """
        constant = _BOLTZMANN.get(self.name)
        if constant is None:
            known = ", ".join(_BOLTZMANN)
            raise DataError(f"units '{self.name}' have no unit of temperature (known: {known}): ingest the data again")
        return constant

    def to_attrs(self) -> dict[str, str]:
        """The value as JSON-able attributes; `Units.from_attrs` is its inverse."""
        return asdict(self)

    @classmethod
    def from_attrs(cls, attrs: Mapping[str, object]) -> Units:
        """The value stored by `to_attrs`; StoreError when a field is missing."""
        try:
            return cls(**{field.name: str(attrs[field.name]) for field in fields(cls)})
        except (KeyError, TypeError) as error:
            raise StoreError("the stored units are incomplete: ingest or simulate the dataset again") from error


LJ = Units("lj", "sigma", "epsilon", "m", "sigma*sqrt(m/epsilon)")
"""Reduced units: the numbers are kept as they are."""

ASE = Units("ase", "A", "eV", "amu", "A*sqrt(amu/eV)")
"""The system of the Atomic Simulation Environment; its time unit is 10.18051 fs."""


@dataclass(frozen=True, slots=True)
class InputUnits:
    """What each number of a foreign file is multiplied by to reach the consistent system `target`."""

    name: str
    target: Units
    length: float = 1.0
    energy: float = 1.0
    mass: float = 1.0
    time: float = 1.0
    velocity: float = 1.0

    @property
    def force(self) -> float:
        """Factor for forces: energy per length."""
        return self.energy / self.length

    @property
    def momentum(self) -> float:
        """Factor for momenta: mass times velocity."""
        return self.mass * self.velocity


# Values of ase.units (CODATA 2014), written out because importing ase takes longer than opening a dataset;
# tests/hamfit/data/test_data_units.py compares each with ase.units.
_FEMTOSECOND = 0.09822694788464063
_KCAL_PER_MOL = 0.04336410390059322
_BOHR = 0.5291772105638411
_HARTREE = 27.211386024367243
_METRE = 1e10
_KILOGRAM = 6.0221408585491615e26
_JOULE = 6.241509125883258e18
_PICOSECOND = 1e3 * _FEMTOSECOND
_SECOND = 1e15 * _FEMTOSECOND
_BOLTZMANN = {"lj": 1.0, "ase": 8.617330337217213e-05}

_INPUT: dict[str, InputUnits] = {
    "lj": InputUnits("lj", LJ),
    "reduced": InputUnits("lj", LJ),
    "ase": InputUnits("ase", ASE),
    "metal": InputUnits("metal", ASE, time=_PICOSECOND, velocity=1 / _PICOSECOND),
    "real": InputUnits("real", ASE, energy=_KCAL_PER_MOL, time=_FEMTOSECOND, velocity=1 / _FEMTOSECOND),
    "si": InputUnits("si", ASE, length=_METRE, energy=_JOULE, mass=_KILOGRAM, time=_SECOND, velocity=_METRE / _SECOND),
    # LAMMPS's manual gives electron velocities in Bohr per 1.03275e-15 s, but its integrator adds dt * v with
    # dt in femtoseconds and its mvv2e = 1.06657 is that of Bohr/fs: the numbers in a dump are Bohr/fs.
    "electron": InputUnits(
        "electron", ASE, length=_BOHR, energy=_HARTREE, time=_FEMTOSECOND, velocity=_BOHR / _FEMTOSECOND
    ),
}

UNIT_NAMES: tuple[str, ...] = tuple(_INPUT)
"""Every name that `input_units` knows."""


def input_units(name: str) -> InputUnits:
    """The factors of a named unit system; DataError for a name that is unknown."""
    known = _INPUT.get(name.strip().lower())
    if known is None:
        raise DataError(f"units '{name}' are unknown: declare one of {', '.join(UNIT_NAMES)}")
    return known


def consistent_units(name: str | Units) -> Units:
    """The consistent system of that name (`lj`, `reduced` or `ase`); DataError for one that needs conversion."""
    if isinstance(name, Units):
        return name
    found = input_units(name)
    if found.name != found.target.name:
        raise DataError(
            f"units '{name}' need conversion (force is not m dv/dt there): ingest makes '{found.target.name}'"
        )
    return found.target


def check_units_of_model(path: Path, units: Units, model_units: Mapping[str, object]) -> None:
    """DataError for data at ``path`` in other units than those of a model, as its ``units`` attribute holds them."""
    if units.name != model_units["name"]:
        raise DataError(f"{path} is in {units.name} units, the model in {model_units['name']}: ingest it alike")
