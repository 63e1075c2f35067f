"""A fitted model as files and commands for LAMMPS.

Pair models become tables (``lammps_table``), one-density many-body models with or without a pair block become eam files
(``lammps_eam``). What LAMMPS has no style for is refused with the reason. Model units `lj` are LAMMPS's `lj`; model
units `ase` become `metal`: lengths, energies, forces and masses are the same numbers, times are picoseconds. LAMMPS's
metal units have mvv2e = 1.0364269e-4, cut off from the 1.0364269572e-4 of CODATA 2014 (``hamfit.data.units``): with the
same forces and masses its accelerations are 5.5e-8 larger than ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hamfit.errors import ModelError, SpecError
from hamfit.exports.files import publishing_file, refuse_taken
from hamfit.exports.kinetics import masses_for
from hamfit.exports.lammps_eam import eam_tables
from hamfit.exports.lammps_table import TableSection, table_section
from hamfit.features.curves import RadialCurve
from hamfit.features.functions import DensityFunctions
from hamfit.graphs import AbstractGraph, BondGraph, CutoffGraph
from hamfit.graphs.channels import pair_channels, pair_labels, species_pairs
from hamfit.inference.density import functions_of
from hamfit.model import Model
from hamfit.stores.disk import disk_errors
from hamfit.types import FloatArray

INCLUDE = "hamfit.in.lmp"
"""The file with the commands, to be included after the box is made."""
_FOLDER = "${hamfit}"
_UNITS = {"lj": "lj", "ase": "metal"}
_FEWEST_POINTS = 100


@dataclass(frozen=True, slots=True)
class LammpsExport:
    """What was written, and what a script needs to say."""

    files: tuple[Path, ...]
    """Absolute paths; the first is the include file."""
    settings: tuple[str, ...]
    """Commands that belong before the box: units, dimension."""
    commands: tuple[str, ...]
    """pair_style, pair_coeff and mass lines, as in the include file; LAMMPS's variable `hamfit` names the folder."""
    units: str
    """`lj` or `metal`."""
    masses: tuple[float, ...]
    """Mass of each atom type, which is the species of the same place in the model's labels."""
    error: float
    """Error of the forces by LAMMPS's interpolation over the distances seen in training, rms, relative."""
    missing_energies: tuple[float, ...]
    """Energy of a particle of each type that the model counts and LAMMPS's potential energy lacks."""


def export_lammps(
    model: Model,
    folder: str | Path,
    *,
    n_points: int | None = None,
    masses: Mapping[str, float] | None = None,
    overwrite: bool = False,
) -> LammpsExport:
    """Write the model to ``folder`` as table or eam files and the include file ``hamfit.in.lmp``.

    Functions are tabulated from half the shortest distance seen in training, where they are the model's own
    continuation, to the cutoff. Nearer particles stop LAMMPS with an error (tables) or feel the force that the pair has
    there (eam). n_points: of each function; by default doubled until LAMMPS's interpolation is good to 1e-12 (tables)
    or 1e-11 (eam). masses: by species, for models fitted without velocities. Raises ModelError for a model that LAMMPS
    has no style for, SpecError for options out of range, StoreError when a file is there already or cannot be written.
    """
    if n_points is not None and n_points < _FEWEST_POINTS:
        raise SpecError(f"n_points is {n_points}: give at least {_FEWEST_POINTS}, or none to have the number chosen")
    pair, density = _parts(model)
    units = _UNITS.get(str(model.units.get("name")))
    if units is None:
        raise ModelError(
            f"the model is in units {model.units.get('name')!r}, which LAMMPS does not know: use lj or ase"
        )
    weights = masses_for(model, masses, "LAMMPS")
    folder = Path(folder).absolute()
    if folder.exists() and not folder.is_dir():
        raise SpecError(f"{folder} is a file, where a folder for LAMMPS's files was to be: choose another path")
    settings = (f"units {units}", f"dimension {model.dim}")
    comment = _comment(model, units, settings)
    if density is None:
        assert pair is not None
        commands, name, lines, error = _as_tables(model, pair, n_points, comment)
        missing = tuple(float(c) for c in np.nan_to_num(model.constants))
    else:
        commands, name, lines, error, missing = _as_eam(model, pair, density, weights, n_points, comment)
    # 17 digits would hide that a learned mass is 63.55
    commands += tuple(f"mass {s + 1} {mass:.12g}" for s, mass in enumerate(weights))
    targets = (folder / INCLUDE, folder / name)
    for path in targets:
        refuse_taken(path, overwrite=overwrite)
    _write(targets[1], lines, overwrite)
    _write(targets[0], _include(model, comment, commands, error, missing), overwrite)
    return LammpsExport(targets, settings, commands, units, tuple(weights.tolist()), error, missing)


def _parts(model: Model) -> tuple[RadialCurve | None, tuple[DensityFunctions, FloatArray] | None]:
    """The pair functions, as the model has them, and the one-density model; ModelError for all without a style."""
    if model.dim == 1:
        raise ModelError(
            "the model is one-dimensional, where LAMMPS simulates two or three dimensions: use hamfit itself"
        )
    acting = [(b, t) for b, t in zip(model.blocks, model.theta, strict=True) if b.part == "force"]
    if not acting:
        raise ModelError("the model has no forces (it was fitted to velocities only): fit data that have forces")
    pair = None
    for n, (block, _) in enumerate(acting, 1):
        if block.pair_functions is not None:
            _check_graph(block.pair_functions.graph)
            pair = block
        if functions_of(acting[:n]) is None:
            raise ModelError(
                f"the {block.kind} block {block.form}, where LAMMPS's styles know one block of functions of the"
                " distance within a cutoff and one round density (--l-max 0 --radial 1): fit without the"
                f" {block.kind} block, or run the model through ASE"
            )
    found = functions_of(acting)
    assert found is not None
    density, of_pair = found
    if pair is None or of_pair is None:
        return None, density
    radial, theta = of_pair[0].radial, of_pair[1]
    return RadialCurve.compile(radial, theta, model.extent_of(pair, radial.n_channels)), density


def _check_graph(graph: AbstractGraph) -> None:
    if not isinstance(graph, CutoffGraph):
        joined = "bonds" if isinstance(graph, BondGraph) else "all pairs of particles, however far apart"
        raise ModelError(
            f"the pair block acts along {joined}, where LAMMPS's tables and eam files need a cutoff:"
            " fit with --cutoff, or run the model with hamfit itself"
        )


def _as_tables(
    model: Model, curve: RadialCurve, n_points: int | None, comment: tuple[str, ...]
) -> tuple[tuple[str, ...], str, Iterator[str], float]:
    """Commands, file name, text and error of a pair model."""
    pairs = [pair for c, pair in enumerate(species_pairs(len(model.labels))) if curve.radial.cutoffs[c] > 0.0]

    def tabulated(n: int | None) -> list[TableSection]:
        channels, labels = pair_channels(len(model.labels)), pair_labels(model.labels)
        found = []
        for s, t in pairs:
            channel = int(channels[s, t])
            low = _shortest(curve.extent[channel], labels[channel])
            found.append(table_section(f"HAMFIT_{s + 1}_{t + 1}", curve, channel, 0.5 * low, n))
        return found

    tables = tabulated(n_points)
    most = max(table.r.size for table in tables)
    if any(table.r.size < most for table in tables):
        # LAMMPS has one number of knots for all sections: the most demanding one sets it
        tables = tabulated(most)
    is_hybrid = len(pairs) < len(species_pairs(len(model.labels)))
    style = "table " if is_hybrid else ""
    coefficients = []
    for s, t in species_pairs(len(model.labels)):
        name = f"{style}{_FOLDER}/hamfit.table HAMFIT_{s + 1}_{t + 1}" if (s, t) in pairs else "none"
        coefficients.append(f"pair_coeff {s + 1} {t + 1} {name}")
    spline = f"table spline {tables[0].r.size}"
    lines = (f"# {line}" for line in comment)
    commands = (f"pair_style {'hybrid ' if is_hybrid else ''}{spline}", *coefficients)
    return commands, "hamfit.table", _sections(lines, tables), max(table.error for table in tables)


def _sections(head: Iterable[str], tables: list[TableSection]) -> Iterator[str]:
    yield from head
    for table in tables:
        yield ""
        yield from table.lines()


def _shortest(extent: FloatArray, label: str) -> float:
    if not np.isfinite(extent).all():
        raise ModelError(f"the training data hold no pair {label} within its cutoff: fit data that do")
    return float(extent[0])


def _as_eam(
    model: Model,
    pair: RadialCurve | None,
    density: tuple[DensityFunctions, FloatArray],
    masses: FloatArray,
    n_points: int | None,
    comment: tuple[str, ...],
) -> tuple[tuple[str, ...], str, Iterator[str], float, tuple[float, ...]]:
    """Commands, file name, text, error and missing energies of a one-density model."""
    tables = eam_tables(density[0].layer, density[1], model.constants, model.labels, pair, n_points)
    names = tuple("_".join(label.split()) or "_" for label in model.labels)
    style, name = ("alloy", "hamfit.eam.alloy") if len(names) == 1 else ("fs", "hamfit.eam.fs")
    commands = (f"pair_style eam/{style}", f"pair_coeff * * {_FOLDER}/{name} {' '.join(names)}")
    # a setfl file has exactly three lines of comment
    head = (comment[0], comment[1], "densities are in units of their mean in the training data")
    return commands, name, tables.lines(names, masses, head), tables.error, tuple(tables.missing.tolist())


def _comment(model: Model, units: str, settings: tuple[str, ...]) -> tuple[str, ...]:
    types = ", ".join(f"type {s + 1} = {label}" for s, label in enumerate(model.labels))
    # LAMMPS reads the tag UNITS and refuses the file in a script with other units
    return (f"Hamiltonian learned by hamfit UNITS: {units}", f"{types}; needs: {'; '.join(settings)}")


def _include(
    model: Model, comment: tuple[str, ...], commands: tuple[str, ...], error: float, missing: tuple[float, ...]
) -> Iterator[str]:
    yield from (f"# {line}" for line in comment)
    yield f"# relative error of the forces by LAMMPS's interpolation: {error:.1e} (rms over the training range)"
    if any(missing):
        energies = ", ".join(f"{label} {energy:.17g}" for label, energy in zip(model.labels, missing, strict=True))
        yield f"# energies leave out the constant of each particle: {energies}"
    yield "# from another folder: lmp -var hamfit FOLDER"
    yield "variable hamfit index ."
    yield from commands


def _write(path: Path, lines: Iterable[str], overwrite: bool) -> None:
    with (
        publishing_file(path, overwrite=overwrite) as partial,
        disk_errors(path),
        partial.open("w", encoding="utf-8") as file,
    ):
        file.writelines(f"{line}\n" for line in lines)
