"""The process `ingest`: other programs' trajectories become a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from hamfit_service.processes.process import AbstractInputs, Process, Workplace
from hamfit_service.processes.references import Reference


class IngestInputs(AbstractInputs):
    """Files, and how to read them."""

    process: ClassVar[str] = "ingest"

    files: tuple[Reference, ...] = Field(
        min_length=1,
        max_length=10_000,
        description="LAMMPS dumps, extended XYZ (both also .gz), ASE .traj or NumPy .npz files.",
    )
    units: Literal["lj", "reduced", "metal", "real", "ase", "si", "electron"] | None = Field(
        default=None, description="Units of the files: lj, metal, real, ase, si or electron."
    )
    energies: Reference | None = Field(default=None, description="CSV of potential energies, one line per frame.")
    energies_per: Literal["atom", "frame"] | None = Field(default=None, description="What one energy belongs to.")
    species: str | None = Field(
        default=None, max_length=10_000, description="Names of the files' types, such as 1=Si,2=O."
    )
    masses: str | None = Field(
        default=None, max_length=10_000, description="Masses by species, such as Si=28.085,O=15.999."
    )
    dt: float | None = Field(default=None, gt=0.0, description="Time of one step, in the files' unit.")
    derivatives: bool = Field(default=False, description="Fill in missing velocities and forces from the time series.")
    pbc: tuple[bool, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=3,
        description="Periodic axes where the files do not say, such as T,T,F.",
    )

    def references(self) -> Sequence[tuple[str, str, str]]:
        """See `AbstractInputs.references`."""
        found = [("files", "file", reference) for reference in self.files]
        return found if self.energies is None else [*found, ("energies", "file", self.energies)]

    def replaced(self, changes: Mapping[str, str]) -> IngestInputs:
        """See `AbstractInputs.replaced`."""
        energies = None if self.energies is None else changes.get(self.energies, self.energies)
        return self.with_changes(files=[changes.get(file, file) for file in self.files], energies=energies)


def run_ingest(inputs: IngestInputs, workplace: Workplace) -> Mapping[str, Any]:
    """Read the files into a dataset, and describe it."""
    from hamfit.data import describe, ingest

    ingest(
        [workplace.resolve("file", file) for file in inputs.files],
        workplace.outputs.main,
        units=inputs.units,
        energies=None if inputs.energies is None else workplace.resolve("file", inputs.energies),
        energies_per=inputs.energies_per,
        species=inputs.species,
        masses=inputs.masses,
        dt=inputs.dt,
        derivatives=inputs.derivatives,
        pbc=inputs.pbc,
        overwrite=workplace.overwrite,
        progress=workplace.progress,
    )
    return describe(workplace.outputs.main)


INGEST = Process(
    name="ingest",
    summary="Read trajectories of other programs into a dataset.",
    inputs=IngestInputs,
    output="dataset.zarr",
    kind="dataset",
    phases=(("ingest", 100.0),),
    runner=run_ingest,
)
