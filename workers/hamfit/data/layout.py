"""Where each quantity lies in a trajectory's group: the element names of H5MD 1.1, in Zarr.

    <trajectory>/particles/all/position/{value[T,N,d], step[T], time[T]}      and so velocity, force,
                               momentum, momentum_rate (only where p is not m v)
    <trajectory>/particles/all/box/edges[d,d]                                 fixed, or
    <trajectory>/particles/all/box/edges/{value[T,d,d], step[T], time[T]}     one for each frame
    <trajectory>/particles/all/species[N], mass[N]
    <trajectory>/observables/potential_energy/{value[T], step[T], time[T]}
    <trajectory>/observables/stress/{value[T,d,d], step[T], time[T]}
    <trajectory>/connectivity/bonds[B,2], bond_types[B]

`time` is absent where the source knew none. Zarr has no links, so each element repeats step and time as H5MD
asks; they are a thousandth of the data.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hamfit.data.units import Units

ALL = "particles/all"
SPECIES = f"{ALL}/species"
MASS = f"{ALL}/mass"
BOX = f"{ALL}/box"
EDGES = f"{BOX}/edges"
BONDS = "connectivity/bonds"
BOND_TYPES = "connectivity/bond_types"


@dataclass(frozen=True, slots=True)
class Element:
    """A quantity that has one value for each frame."""

    name: str
    """Name of the argument and attribute that carry it."""
    path: str
    """Path of its group below the trajectory's."""
    axes: tuple[str, ...]
    """Names of the axes of one frame's value."""

    def unit(self, units: Units) -> str:
        """Name of its unit in a consistent system."""
        return {
            "position": units.length,
            "box": units.length,
            "velocity": units.velocity,
            "force": units.force,
            "momentum_rate": units.force,
            "momentum": f"{units.mass}*{units.velocity}",
            "potential_energy": units.energy,
            "stress": f"{units.energy}/{units.length}^d",
        }[self.name]


_VECTOR = ("particle", "axis")
POSITION = Element("position", f"{ALL}/position", _VECTOR)
BOX_EDGES = Element("box", EDGES, ("vector", "axis"))
ELEMENTS: dict[str, Element] = {
    element.name: element
    for element in (
        POSITION,
        Element("velocity", f"{ALL}/velocity", _VECTOR),
        Element("force", f"{ALL}/force", _VECTOR),
        Element("momentum", f"{ALL}/momentum", _VECTOR),
        Element("momentum_rate", f"{ALL}/momentum_rate", _VECTOR),
        Element("potential_energy", "observables/potential_energy", ()),
        Element("stress", "observables/stress", ("row", "axis")),
        BOX_EDGES,
    )
}
"""Every element by name."""


def series_paths(trajectory: str, fields: Iterable[str]) -> dict[str, str]:
    """Path below the root of each array of a trajectory that has a row for each frame, by what a reader calls it."""
    position = f"{trajectory}/{POSITION.path}"
    values = {name: f"{trajectory}/{ELEMENTS[name].path}/value" for name in sorted({*fields} & {*ELEMENTS})}
    return {"step": f"{position}/step", "time": f"{position}/time", "position": f"{position}/value"} | values


def fixed_paths(trajectory: str) -> dict[str, str]:
    """Path below the root of each array that is the same for all frames, by what a reader calls it."""
    return {key: f"{trajectory}/{path}" for key, path in (("species", SPECIES), ("mass", MASS), ("box", EDGES))}
