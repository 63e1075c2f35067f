"""Handing fitted models and trajectories to the programs physicists use.

The names below are loaded on first use, because each door needs another library (ASE, h5py) that the others do
without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hamfit.exports.ase import HamfitCalculator
    from hamfit.exports.extxyz import export_extxyz
    from hamfit.exports.h5md import export_h5md
    from hamfit.exports.lammps import LammpsExport, export_lammps

__all__ = [
    "HamfitCalculator",
    "LammpsExport",
    "export_extxyz",
    "export_h5md",
    "export_lammps",
]

_HOME = {
    "HamfitCalculator": "hamfit.exports.ase",
    "LammpsExport": "hamfit.exports.lammps",
    "export_extxyz": "hamfit.exports.extxyz",
    "export_h5md": "hamfit.exports.h5md",
    "export_lammps": "hamfit.exports.lammps",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
