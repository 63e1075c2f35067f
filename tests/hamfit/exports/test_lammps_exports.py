"""What an export to LAMMPS writes, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from export_cases import Trained, train

from hamfit.errors import ModelError, SpecError, StoreError
from hamfit.exports.kinetics import masses_for
from hamfit.exports.lammps import INCLUDE, export_lammps
from hamfit.exports.lammps_splines import eam_value_and_slope, table_force
from hamfit.features.field import FieldBlock
from hamfit.features.functions import DensityFunctions
from hamfit.features.kinetic import KineticBlock
from hamfit.features.manybody import ManyBodyBlock
from hamfit.features.pair import PairBlock
from hamfit.fitting import FitResult
from hamfit.graphs import AllPairsGraph, BondGraph, CutoffGraph
from hamfit.inference import CompiledModel
from hamfit.integrators import VERLET
from hamfit.model import Model
from hamfit.velocity_ratios import velocity_ratios
from lammps_runner import LammpsError, run_lammps
from worlds import liquids


def numbers(path: Path, skip: int) -> np.ndarray:
    return np.array([float(line) for line in path.read_text().splitlines()[skip:]])


def test_the_include_file_says_all_that_a_script_needs(mixture: Trained, tmp_path: Path) -> None:
    export = export_lammps(mixture.model, tmp_path)
    assert [file.name for file in export.files] == [INCLUDE, "hamfit.table"]
    text = export.files[0].read_text()
    assert all(command in text for command in export.commands)
    assert "UNITS: lj" in text.splitlines()[0]
    assert "type 1 = 1, type 2 = 2" in text
    assert "units lj; dimension 3" in text
    assert f"{export.error:.1e}" in text
    assert export.commands[0].startswith("pair_style table spline ")
    assert export.masses == pytest.approx((1.0, 1.0), rel=1e-9)
    constants = ", ".join(f"{label} {c:.17g}" for label, c in zip("12", mixture.model.constants, strict=True))
    assert constants in text


def test_tables_reach_from_half_the_shortest_distance_to_the_cutoff(liquid: Trained, tmp_path: Path) -> None:
    export = export_lammps(liquid.model, tmp_path, n_points=500)
    rows = [line.split() for line in export.files[1].read_text().splitlines() if len(line.split()) == 4]
    table = np.array([[float(word) for word in row] for row in rows if row[0].isdigit()])
    assert table.shape == (500, 4)
    assert table[0, 1] == 0.5 * liquid.model.extents["pair"][0, 0]
    assert table[-1, 1] == 2.5
    assert table[-1, 2] == pytest.approx(0.0, abs=1e-14)
    np.testing.assert_allclose(np.diff(table[:, 1] ** 2), np.diff(table[:2, 1] ** 2)[0], rtol=1e-9)


def test_more_points_cost_less_accuracy(liquid: Trained, tmp_path: Path) -> None:
    errors = [export_lammps(liquid.model, tmp_path, n_points=n, overwrite=True).error for n in (1000, 2000, 4000)]
    assert errors[0] > 12.0 * errors[1] > 100.0 * errors[2]


def test_an_eam_file_has_what_its_head_says(alloy: Trained, tmp_path: Path) -> None:
    export = export_lammps(alloy.model, tmp_path, n_points=600)
    lines = export.files[1].read_text().splitlines()
    assert lines[3] == "2 1 2"
    n_rho, _, n_r, step, cutoff = (float(word) for word in lines[4].split())
    assert (n_rho, n_r, cutoff) == (600, 600, 2.5)
    assert step * (n_r - 5) == pytest.approx(2.5, rel=1e-15)
    # two elements: a head, F and two densities each; three pair functions
    assert len(lines) == 5 + 2 * (1 + 3 * 600) + 3 * 600
    assert export.commands[:2] == ("pair_style eam/fs", "pair_coeff * * ${hamfit}/hamfit.eam.fs 1 2")


def test_densities_are_positive_and_one_on_average(copper: Trained, tmp_path: Path) -> None:
    export = export_lammps(copper.model, tmp_path)
    lines = export.files[1].read_text().splitlines()
    n, density_step = int(lines[4].split()[0]), float(lines[4].split()[3])
    density = np.array([float(line) for line in lines[6 + n : 6 + 2 * n]])
    assert density[density_step * np.arange(n) > 0.5 * copper.model.extents["pair"][0, 0]].min() > -1e-12
    frame = copper.frame()
    block = next(block for block in copper.model.blocks if isinstance(block, ManyBodyBlock))
    edges = block.graph.prepare(frame).edges(np.arange(frame.n_particles))
    values = np.interp(edges.distance, density_step * np.arange(n), density)
    mean = values.sum() / frame.n_particles
    assert mean == pytest.approx(1.0, abs=0.01)


def test_large_constants_are_left_out_of_the_embedding_and_told(copper: Trained, tmp_path: Path) -> None:
    plain = export_lammps(copper.model, tmp_path / "a")
    assert plain.missing_energies == (0.0,)
    shifted = replace(copper.model, constants=copper.model.constants + 1e6)
    export = export_lammps(shifted, tmp_path / "b")
    assert export.missing_energies[0] == pytest.approx(1e6, rel=1e-3)
    assert export.error < 1e-10
    assert "leave out the constant" in export.files[0].read_text()


def replaced(model: Model, kind: str, block: object) -> Model:
    blocks = tuple(block if b.kind == kind else b for b in model.blocks)
    return replace(model, blocks=blocks)


def with_graph(model: Model, graph: object) -> Model:
    pair = next(block for block in model.blocks if isinstance(block, PairBlock))
    return replaced(model, "pair", PairBlock(pair.radial, graph))


def with_field(model: Model) -> Model:
    frame = liquids(1, 1, n_species=2, periodic=False)[0]
    field = FieldBlock.sample([frame], n_features=3, sampler="elm", rng=np.random.default_rng(0))
    return replace(model, blocks=(*model.blocks, field), theta=(*model.theta, np.zeros(field.n_columns)))


def relativistic(model: Model) -> Model:
    """T that grows more slowly than p^2: the last link x^2 gets a part of it."""
    at = next(k for k, block in enumerate(model.blocks) if isinstance(block, KineticBlock))
    theta = list(model.theta)
    theta[at] = theta[at].copy()
    block = model.blocks[at]
    assert isinstance(block, KineticBlock)
    theta[at][block.radial.per_channel - 1] -= 0.01
    return replace(model, theta=tuple(theta))


def twofold(model: Model) -> Model:
    """A block that claims to be pair functions and a density at once: nobody can know which of them acts."""
    pair = next(block for block in model.blocks if isinstance(block, PairBlock))
    assert isinstance(pair.graph, CutoffGraph)
    layer = ManyBodyBlock.sample(
        liquids(1, 2, n_species=2),
        pair.graph,
        n_features=3,
        n_radial=1,
        n_bumps=4,
        l_max=0,
        rng=np.random.default_rng(0),
    ).layer
    both = type("Both", (PairBlock,), {"density_functions": DensityFunctions(layer, pair.graph, np.zeros((3, 2)))})
    return replaced(model, "pair", both(pair.radial, pair.graph))


def forceless(model: Model) -> Model:
    return replace(model, blocks=model.blocks[:1], theta=model.theta[:1])


REFUSALS: list[tuple[str, Callable[[Model], Model], str]] = [
    ("bonds", lambda m: with_graph(m, BondGraph(("a", "b"))), "acts along bonds, .* need a cutoff: fit with --cutoff"),
    ("all-pairs", lambda m: with_graph(m, AllPairsGraph(m.labels)), "acts along all pairs .* need a cutoff"),
    ("field", with_field, "field block acts at absolute positions.*fit without the field block"),
    ("kinetic", relativistic, r"species A is not p\^2/2m .* and LAMMPS knows no other: run the model with hamfit"),
    ("twofold", twofold, "the pair block has functions of the distance, .* one round density"),
    ("forceless", forceless, "no forces .* fit data that have forces"),
    ("line", lambda m: replace(m, dim=1), "one-dimensional, where LAMMPS simulates two or three"),
    ("units", lambda m: replace(m, units={"name": "odd"}), "units 'odd'"),
    (
        "unseen",
        lambda m: replace(m, extents={**m.extents, "pair": np.full((3, 2), np.nan)}),
        "no pair A-A within its cutoff",
    ),
]


@pytest.mark.parametrize("change, words", [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS])
def test_a_model_that_lammps_cannot_serve_is_refused_with_the_reason(
    change: Callable[[Model], Model], words: str, binary_fit: FitResult, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=words):
        export_lammps(change(binary_fit.model), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_block_of_two_laws_is_run_as_it_is_asked(binary_fit: FitResult) -> None:
    frame = liquids(3, 1, n_species=2)[0]
    assert frame.p is not None
    engine = CompiledModel(twofold(binary_fit.model)).engine(frame, VERLET, 0.001)
    seen = engine.begin(frame.q, frame.p)
    engine.close()
    np.testing.assert_allclose(seen.forces, binary_fit.model.forces(frame), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"l_max": 1, "radial": 1}, "moments up to 1 of 1 radial .*--l-max 0 --radial 1"),
        ({"l_max": 0, "radial": 2}, "moments up to 0 of 2 radial"),
    ],
)
def test_environments_richer_than_one_density_are_refused(change: dict[str, int], words: str, tmp_path: Path) -> None:
    trained = train(tmp_path, liquids(1, 8), cutoff=1.75, features=8, blocks=("kinetic", "manybody"), **change)
    with pytest.raises(ModelError, match=words):
        export_lammps(trained.model, tmp_path / "out")


def test_forces_that_jump_at_different_cutoffs_do_not_fit_into_one_eam_file(tmp_path: Path) -> None:
    how = {"blocks": ("kinetic", "pair", "manybody"), "features": 8, "l_max": 0, "radial": 1, "taper": "none"}
    frames = liquids(1, 8, n_species=2)
    graded = train(tmp_path / "a", frames, cutoff="A-A=1.75,A-B=1.5,B-B=1.75", **how)
    with pytest.raises(ModelError, match=r"between A and B jumps at 1\.5, before the greatest cutoff 1\.75.*smooth"):
        export_lammps(graded.model, tmp_path / "out")
    export_lammps(train(tmp_path / "b", frames, cutoff=1.75, **how).model, tmp_path / "out")


def test_a_density_that_changes_sign_is_refused(copper: Trained, tmp_path: Path) -> None:
    block = next(block for block in copper.model.blocks if isinstance(block, ManyBodyBlock))
    mixing = block.layer.mixing.copy()
    mixing[0, ::2] *= -1.0
    layer = replace(block.layer, mixing=mixing, deviation=0.2 * np.abs(block.layer.mean))
    with pytest.raises(ModelError, match="may change its sign, which eam files do not allow: fit again"):
        export_lammps(replaced(copper.model, "manybody", ManyBodyBlock(block.graph, layer)), tmp_path)


def test_existing_files_are_kept_unless_asked(liquid: Trained, tmp_path: Path) -> None:
    export = export_lammps(liquid.model, tmp_path)
    before = [file.read_bytes() for file in export.files]
    with pytest.raises(StoreError, match=r"hamfit.in.lmp: something is there already: .* ask to overwrite"):
        export_lammps(liquid.model, tmp_path, n_points=1000)
    assert [file.read_bytes() for file in export.files] == before
    again = export_lammps(liquid.model, tmp_path, n_points=1000, overwrite=True)
    assert again.files[1].read_bytes() != before[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hamfit.in.lmp", "hamfit.table"]


def test_exports_are_the_same_bits_again(copper: Trained, tmp_path: Path) -> None:
    first, second = (export_lammps(copper.model, tmp_path / name, n_points=800) for name in "ab")
    assert [f.read_bytes() for f in first.files] == [f.read_bytes() for f in second.files]


def test_options_out_of_range_are_refused(liquid: Trained, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="n_points is 5"):
        export_lammps(liquid.model, tmp_path / "a", n_points=5)
    (tmp_path / "file").write_text("x")
    with pytest.raises(SpecError, match="is a file, where a folder"):
        export_lammps(liquid.model, tmp_path / "file")


def test_masses_are_learned_given_or_those_of_elements(binary_fit: FitResult, copper: Trained) -> None:
    model = binary_fit.model
    learned = velocity_ratios(model)
    assert learned is not None
    np.testing.assert_allclose(learned.ratio, [1.0 / 1.7, 1.0 / 2.9], rtol=1e-8)
    assert learned.spread.max() < 1e-7
    assert masses_for(model, {"A": 1.7}, "LAMMPS")[0] == 1.7
    still = replace(model, blocks=model.blocks[1:], theta=model.theta[1:])
    assert velocity_ratios(still) is None
    assert masses_for(still, {"A": 3.0, "B": 5.0}, "LAMMPS").tolist() == [3.0, 5.0]
    element = replace(still, labels=("Cu", "Si"), units={"name": "ase"})
    np.testing.assert_allclose(masses_for(element, None, "LAMMPS"), [63.546, 28.085])
    for given, words in (
        ({"A": -1.0}, "mass of species A is -1.0: give a positive"),
        ({"C": 1.0}, "masses name the species C: the model has A, B"),
        ({"A": 2.0}, r"mass of species A is 2 where the model learned 1\.7"),
    ):
        with pytest.raises(SpecError, match=words):
            masses_for(model, given, "LAMMPS")
    with pytest.raises(ModelError, match=r"knows no mass of species A, .* give masses such as A=1\.0"):
        masses_for(still, None, "LAMMPS")


def test_the_splines_of_lammps_are_those_of_its_manual() -> None:
    """Cubics are reproduced by both; values are passed through."""
    x = np.linspace(0.4, 3.9, 37)

    def cubic(t: np.ndarray) -> np.ndarray:
        return 2.0 - t + 0.5 * t**2 - 0.3 * t**3

    values = cubic(0.1 * np.arange(60))
    value, slope = eam_value_and_slope(values, 0.1, x)
    np.testing.assert_allclose(value, cubic(x), rtol=1e-12)
    np.testing.assert_allclose(slope, -1.0 + x - 0.9 * x**2, rtol=1e-11)
    rsq = np.linspace(0.16, 16.0, 50)
    r = np.sqrt(rsq)
    # F = r (1 + s^2) with s = r^2: F/r is a cubic in s
    ends = (1.0 + 5.0 * r[0] ** 4, 1.0 + 5.0 * r[-1] ** 4)
    np.testing.assert_allclose(table_force(rsq, r * (1.0 + rsq**2), ends, x), x * (1.0 + x**4), rtol=1e-12)


def test_lammps_errors_are_readable(tmp_path: Path) -> None:
    with pytest.raises(LammpsError, match="Unknown command: nonsense"):
        run_lammps("units lj\nnonsense 1\n", tmp_path)
