"""The contract of blocks is closed: a block of another package is fitted, judged, run, sent to workers and stored.

``tests/plugin`` stands for an installed package: importlib finds its entry points beside it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hamfit.data import Dataset
from hamfit.devices import DeviceChoice
from hamfit.errors import DataError, ModelError, SpecError, StoreError
from hamfit.evaluation import evaluate
from hamfit.exports import HamfitCalculator, export_lammps
from hamfit.features.block import AbstractBlock, Sampled
from hamfit.features.functions import PairFunctions
from hamfit.features.kinetic import KineticBlock
from hamfit.features.pair import PairBlock
from hamfit.features.registry import block_type
from hamfit.features.source import Source
from hamfit.features.survey import Sampling
from hamfit.fitting import fit, plan
from hamfit.frames import Frame
from hamfit.inference import CompiledModel
from hamfit.integrators import VERLET, integrator
from hamfit.model import Model
from hamfit.options import FitOptions, FitSpec
from hamfit.rollouts import rollout
from hamfit.types import FloatArray, IntArray
from worlds import liquids, write

# Warnings about accuracy are not the subject here.
pytestmark = pytest.mark.filterwarnings("ignore::hamfit.errors.FitWarning")

PLUGIN = Path(__file__).parents[2] / "plugin"
STIFFNESS, BENDING = 1.7, 0.05


@pytest.fixture(scope="module", autouse=True)
def installed() -> Iterator[None]:
    """The package, as if installed."""
    sys.path.insert(0, str(PLUGIN))
    importlib.invalidate_caches()
    block_type.cache_clear()
    yield
    sys.path.remove(str(PLUGIN))
    block_type.cache_clear()


def trapped(seed: int, count: int) -> list[Frame]:
    """Frames of a cluster that attracts itself and is held by V = sum_i k x / 2 + c x^2 / 4, x = |q_i|^2."""
    out = []
    for frame in liquids(seed, count, side=2, periodic=False, cutoff=2.5):
        q = frame.q - frame.q.mean(axis=0)
        x = np.sum(q**2, axis=1)
        assert frame.pdot is not None
        assert frame.potential_energy is not None
        force = frame.pdot - (STIFFNESS + BENDING * x)[:, None] * q
        energy = frame.potential_energy + float(np.sum(0.5 * STIFFNESS * x + 0.25 * BENDING * x**2))
        out.append(replace(frame, q=q, pdot=force, potential_energy=energy))
    return out


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write(tmp_path_factory.mktemp("trap") / "seen.zarr", [trapped(1, 40)])


@pytest.fixture(scope="module")
def options(installed: None) -> FitOptions:
    return FitOptions(blocks=("kinetic", "pair", "trap"), cutoff=2.5, features=24, threads=1, seed=3)


@pytest.fixture(scope="module")
def model(data: Dataset, options: FitOptions, tmp_path_factory: pytest.TempPathFactory) -> Model:
    out = tmp_path_factory.mktemp("model") / "trap.model"
    fit(data, options=options, out=out)
    return Model.open(out)


def test_it_is_fitted_comes_back_from_its_store_and_is_judged(model: Model, tmp_path: Path) -> None:
    assert [block.kind for block in model.blocks] == ["kinetic", "pair", "trap"]
    unseen = write(tmp_path / "unseen.zarr", [trapped(2, 10)])
    errors = evaluate(model, unseen)
    assert errors["force"] < 1e-5
    assert errors["energy_mae_per_particle"] < 1e-5


def test_it_travels_to_workers_and_gives_the_same_bits(
    data: Dataset, model: Model, options: FitOptions, tmp_path: Path
) -> None:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        there = fit(data, options=options, out=tmp_path / "there.model", client=client).model
    for ours, theirs in zip(model.theta, there.theta, strict=True):
        assert ours.tobytes() == theirs.tobytes()


def test_it_runs_on_the_emulated_device_as_on_the_processor(data: Dataset, model: Model, options: FitOptions) -> None:
    there = fit(data, options=options, device="emulated").model
    frame = trapped(4, 1)[0]
    np.testing.assert_allclose(there.forces(frame), model.forces(frame), rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore::hamfit.errors.RolloutWarning")
def test_it_is_rolled_out_and_conserves_energy(data: Dataset, model: Model, tmp_path: Path) -> None:
    done = rollout(model, data, out=tmp_path / "run.zarr", steps=200, dt=0.001, every=100, frames="0")
    assert done.report["engine"].startswith("blocks: kinetic, pair, trap")
    # forces end at the cutoff with a jump
    assert 0.0 < done.report["energy_drift"] < 1e-2


def test_its_columns_are_predicted(data: Dataset, options: FitOptions) -> None:
    alone, both = (plan(data, options.with_changes(blocks=blocks)).columns for blocks in (("pair",), ("pair", "trap")))
    assert both - alone == 25


def test_where_it_cannot_serve_it_is_refused_with_its_name(
    model: Model, options: FitOptions, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"the trap block holds particles around the origin.*fit without the trap"):
        export_lammps(model, tmp_path / "lammps")
    with pytest.raises(ModelError, match="trap block acts at absolute positions"):
        model.potential(trapped(5, 1)[0])
    box = write(tmp_path / "box.zarr", [liquids(1, 4)])
    with pytest.raises(DataError, match="the trap block needs absolute positions, which a periodic box does not have"):
        fit(box, options=options)
    with pytest.raises(ModelError, match="the model's trap has no meaning"):
        rollout(model, box, out=tmp_path / "no.zarr", steps=1, dt=0.001)
    with pytest.raises(ModelError, match="the trap block does not know the virials of its features"):
        model.blocks[2].virials(model.blocks[2].prepare(trapped(5, 1)[0]))
    atoms = pytest.importorskip("ase").Atoms("H2", [[0.0, 0, 0], [1.0, 0, 0]], cell=[9.0] * 3, pbc=True)
    atoms.calc = HamfitCalculator(model, labels={"H": "A"})
    with pytest.raises(Exception, match="trap block holds particles around the origin, so the model has no stress"):
        atoms.get_stress()


class Relativistic(KineticBlock):
    """T(p) as another package may have it: nobody is told that it is functions of |p|."""

    kind = "relativistic"
    momentum_functions = None


class Coupled(KineticBlock):
    kind = "coupled"
    is_separable = False


def with_velocity_blocks(model: Model, *kinds: type[KineticBlock]) -> Model:
    """The pair part of a model, and its kinetic block as these."""
    kinetic, theta = model.blocks[0], model.theta[0]
    assert isinstance(kinetic, KineticBlock)
    blocks = [kind(kinetic.radial, kinetic.graph.channel_labels) for kind in kinds]
    extents = {**model.extents, **{block.kind: model.extents["kinetic"] for block in blocks}}
    pair, pair_theta = model.blocks[1], model.theta[1]
    return replace(model, blocks=(*blocks, pair), theta=(*[theta] * len(blocks), pair_theta), extents=extents)


@pytest.mark.parametrize(
    "kinds", [(Relativistic,), (KineticBlock, Relativistic)], ids=["in place of hamfit's", "beside hamfit's"]
)
def test_a_kinetic_energy_of_another_package_is_that_which_moves_particles(
    kinds: tuple[type[KineticBlock], ...], model: Model, tmp_path: Path
) -> None:
    other, frame = with_velocity_blocks(model, *kinds), trapped(6, 1)[0]
    assert frame.p is not None
    engine = CompiledModel(other).engine(frame, VERLET, 0.001)
    seen = engine.begin(frame.q, frame.p)
    assert seen.kinetic_energy == pytest.approx(other.kinetic_energy(frame), rel=1e-12)
    engine.advance(1)
    q, _ = engine.state()
    half = frame.p + 0.5 * 0.001 * other.forces(frame)
    np.testing.assert_allclose(q - frame.q, 0.001 * other.velocities(replace(frame, p=half)), rtol=0, atol=1e-12)
    for export in (lambda: HamfitCalculator(other), lambda: export_lammps(other, tmp_path / "lammps")):
        with pytest.raises(ModelError, match=r"the kinetic energy that the model learned .* is not p"):
            export()


def test_a_block_that_couples_positions_and_momenta_is_stepped_by_implicit_methods_alone(model: Model) -> None:
    other, frame = with_velocity_blocks(model, Coupled), trapped(6, 1)[0]
    with pytest.raises(SpecError, match=r"coupled block couples positions and momenta.*take the integrator midpoint"):
        CompiledModel(other).engine(frame, VERLET, 0.001)
    CompiledModel(other).engine(frame, integrator("midpoint"), 0.001).close()


def test_a_second_block_of_pair_functions_is_refused_where_one_is_known(model: Model, tmp_path: Path) -> None:
    """And runs block by block, with the forces of both."""
    pair, theta, frame = model.blocks[1], model.theta[1], trapped(6, 1)[0]
    both = replace(model, blocks=(model.blocks[0], pair, pair), theta=(model.theta[0], theta, theta))
    with pytest.raises(ModelError, match="the pair block has functions of the distance, where LAMMPS's styles know"):
        export_lammps(both, tmp_path / "lammps")
    assert frame.p is not None
    seen = CompiledModel(both).engine(frame, VERLET, 0.001).begin(frame.q, frame.p)
    np.testing.assert_allclose(seen.forces, both.forces(frame), rtol=0, atol=1e-10)


def test_what_is_offered_and_cannot_be_had_is_named() -> None:
    with pytest.raises(SpecError, match=r"no block is called pear: use kinetic, .*or install the package"):
        block_type("pear")
    with pytest.raises(SpecError, match=r"the block broken cannot be loaded from hamfit_trap:nothing_of_the_kind"):
        block_type("broken")
    with pytest.raises(SpecError, match=r"hamfit_trap:Stranger is offered as a block called stranger and is none"):
        block_type("stranger")


def test_a_model_is_refused_where_the_package_is_missing(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "kept.model")
    sys.path.remove(str(PLUGIN))
    importlib.invalidate_caches()
    block_type.cache_clear()
    try:
        with pytest.raises(StoreError, match=r"no block is called trap.*install the package that offers it"):
            Model.open(tmp_path / "kept.model")
    finally:
        sys.path.insert(0, str(PLUGIN))
        importlib.invalidate_caches()


class Springs(AbstractBlock):
    """Pair functions as another package may have them: what the contract asks for, and nothing more."""

    kind, part, needs_graph = "springs", "force", "any"

    def __init__(self, inner: PairBlock) -> None:
        self.inner, self.graph = inner, inner.graph

    @property
    def n_columns(self) -> int:
        return self.inner.n_columns

    @property
    def pair_functions(self) -> PairFunctions:
        return self.inner.pair_functions

    def rows(self, source: Source, centres: IntArray) -> FloatArray:
        return self.inner.rows(source, centres)

    def features(self, source: Source) -> FloatArray:
        return self.inner.features(source)

    def energy_and_gradient(
        self, source: Source, theta: FloatArray, virial: FloatArray | None = None
    ) -> tuple[float, FloatArray]:
        return self.inner.energy_and_gradient(source, theta, virial)

    @classmethod
    def sampled(cls, sampling: Sampling) -> Sampled:
        inner = PairBlock.sampled(sampling).block
        assert isinstance(inner, PairBlock)
        return Sampled(cls(inner))

    @classmethod
    def expected_columns(cls, options: FitSpec, n_species: int, n_channels: int, dim: int) -> int:
        return PairBlock.expected_columns(options, n_species, n_channels, dim)

    def to_store(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return self.inner.to_store()

    @classmethod
    def from_store(cls, attrs: dict[str, Any], arrays: dict[str, np.ndarray]) -> Springs:
        return cls(PairBlock.from_store(attrs, arrays))


@pytest.mark.parametrize("device", ["cpu", "emulated"])
def test_a_block_that_gives_functions_is_compiled_and_exported_with_nothing_else_to_write(
    device: DeviceChoice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hamfit_trap.TrapBlock", Springs)
    monkeypatch.setattr(Springs, "kind", "trap")
    block_type.cache_clear()
    try:
        data = write(tmp_path / "seen.zarr", [liquids(1, 12)])
        options = FitOptions(blocks=("kinetic", "trap"), cutoff=1.75, features=24, threads=1, seed=3)
        model = fit(data, options=options, device=device).model
        like = fit(data, options=options.with_changes(blocks=("kinetic", "pair")), device=device).model
    finally:
        block_type.cache_clear()
    # the same edges, which are noted on the processor and found on the device
    np.testing.assert_allclose(model.extents["trap"], like.extents["pair"], rtol=1e-12)
    frame = liquids(2, 1)[0]
    assert frame.p is not None
    engine = CompiledModel(model).engine(frame, VERLET, 0.001)
    assert type(engine).__name__ == "CutoffEngine"
    seen = engine.begin(frame.q, frame.p)
    engine.close()
    np.testing.assert_allclose(seen.forces, model.forces(frame), rtol=0, atol=1e-8 * float(np.abs(seen.forces).max()))
    assert seen.outside < 0.1 * seen.pairs
    export_lammps(model, tmp_path / "lammps")
