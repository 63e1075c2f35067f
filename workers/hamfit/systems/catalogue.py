"""The built-in systems by name: what each is, its options, and how it is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from hamfit.errors import SpecError, suggestion
from hamfit.progress import Progress, silent
from hamfit.systems.gravity import GravitySpec, run_gravity
from hamfit.systems.liquids import KobAndersenSpec, LennardJonesSpec, run_kob_andersen, run_lennard_jones
from hamfit.systems.networks import AnharmonicSpec, MorseSpec, SpringSpec, run_network
from hamfit.systems.neurips import NBodySpec, NSpringSpec, run_nbody, run_nspring
from hamfit.systems.options import Option, SimulationSpec, options_of
from hamfit.systems.simulation import Simulation


@dataclass(frozen=True, slots=True)
class System:
    """One entry of the catalogue."""

    name: str
    """What `hamfit simulate` is given."""
    summary: str
    """One line: the potential and the start."""
    spec_class: type[SimulationSpec]
    """Its options."""
    runner: Callable[[Any, Progress], Simulation]
    """Simulates a checked spec; called through `run`."""

    @property
    def options(self) -> tuple[Option, ...]:
        """The options, those special to the system first."""
        return options_of(self.spec_class)

    def spec(self, values: Mapping[str, Any]) -> SimulationSpec:
        """Checked options from plain or textual values, None for a default; SpecError for what is unknown or wrong."""
        given = {name: value for name, value in values.items() if value is not None}
        return self.spec_class.build(given, source=self.name)

    def run(self, spec: SimulationSpec, progress: Progress = silent) -> Simulation:
        """Simulate in memory; the same spec gives the same bits.

        Raises:
            SpecError: the spec is of another system, or the reference does not conserve the energy.

        """
        if not isinstance(spec, self.spec_class):
            raise SpecError(f"{self.name} takes a {self.spec_class.__name__}, not a {type(spec).__name__}")
        try:
            return self.runner(spec, progress)
        except SpecError as error:
            raise SpecError(f"{self.name}: {error}") from error


_ENTRIES = (
    System("spring", "Bonds beta (r - r0)^2 / 2 on a chain, ring or lattice", SpringSpec, run_network),
    System(
        "anharmonic",
        "Bonds beta (r - r0)^2 / 2 + gamma (r - r0)^4 / 4 on a chain, ring or lattice",
        AnharmonicSpec,
        run_network,
    ),
    System("morse", "Bonds D (1 - exp(-a (r - r0)))^2 on a chain, ring or lattice", MorseSpec, run_network),
    System("lj", "Lennard-Jones liquid in a periodic box, cut and shifted", LennardJonesSpec, run_lennard_jones),
    System("kob-andersen", "Kob-Andersen binary Lennard-Jones mixture", KobAndersenSpec, run_kob_andersen),
    System("gravity", "Bodies under -G m m / r near a rotating polygon", GravitySpec, run_gravity),
    System(
        "nspring",
        "NeurIPS 2022 n-spring: a ring of springs (r^2 - 1)^2 in the plane",
        NSpringSpec,
        run_nspring,
    ),
    System("nbody", "NeurIPS 2022 n-body: two binaries under -1 / r", NBodySpec, run_nbody),
)

SYSTEMS: Mapping[str, System] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""Every built-in system by name."""


def system(name: str) -> System:
    """The entry of this name; SpecError, with the known names, when there is none."""
    entry = SYSTEMS.get(name)
    if entry is None:
        raise SpecError(f"system '{name}' is unknown: {suggestion(name, SYSTEMS)}")
    return entry
