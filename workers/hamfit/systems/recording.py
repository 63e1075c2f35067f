"""`simulate`: run a built-in system and keep its trajectories as a dataset.

The simulation is finished, and its energy error accepted, before anything is written. The dataset says how
it was made: system, all options, integrator, energy error; the same call writes the same numbers, hence the
same digest.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hamfit.progress import Progress, silent
from hamfit.systems.catalogue import system as find_system

if TYPE_CHECKING:
    from hamfit.data import Dataset


def simulate(
    system: str,
    out: str | Path,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
    **options: Any,
) -> Dataset:
    """Simulate a built-in system and write a dataset in reduced units.

    Forces are the exact ones at the stored positions, positions are unwrapped, potential energies are those
    of whole frames. `dataset.attrs["simulation"]` holds the options, the integrator and the largest
    relative energy error.

    Args:
        system: a name in `SYSTEMS`.
        out: where to write the dataset.
        overwrite: replace what is there.
        progress: told of every stored frame.
        options: the system's own options (`SYSTEMS[name].options`), as values or as text; None stands for the
            default.

    Raises:
        SpecError: the system or an option is unknown or out of range, or the energy is not conserved.
        StoreError: the place is taken or cannot be written.

    """
    entry = find_system(system)
    spec = entry.spec(options)
    simulation = entry.run(spec, progress)
    # Datasets take long to import, and those who only ask for a system's options need none of it.
    from hamfit.data import Dataset, DatasetWriter

    particles = simulation.particles
    attrs = {
        "simulation": {
            "system": system,
            "options": spec.model_dump(),
            "integrator": simulation.integrator,
            "relative_energy_error": simulation.relative_energy_error,
        }
    }
    with DatasetWriter.create(
        out,
        units="lj",
        labels=particles.labels,
        bond_labels=particles.bond_labels,
        attrs=attrs,
        overwrite=overwrite,
    ) as writer:
        for number, run in enumerate(simulation.runs):
            writer.add_trajectory(
                f"run-{number:04d}",
                q=run.q,
                species=particles.species,
                masses=particles.masses,
                box=particles.box,
                periodic=particles.periodic,
                velocity=run.p / particles.masses[:, None],
                force=run.forces,
                potential_energy=run.potential_energy,
                step=simulation.step,
                time=simulation.time,
                bonds=particles.bonds,
                bond_types=particles.bond_types,
            )
    return Dataset.open(out)
