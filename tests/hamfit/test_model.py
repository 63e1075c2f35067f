from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hamfit.errors import ModelError, StoreError
from hamfit.features.manybody import ManyBodyBlock
from hamfit.fitting import FitResult
from hamfit.graphs import CutoffGraph
from hamfit.model import MODEL_SCHEMA, Model, describe, is_model, theta_of_blocks
from worlds import force_of, liquids, pairs, relative

FRAME = liquids(5, 1, n_species=2, jitter=0.09)[0]


@pytest.fixture
def model(binary_fit: FitResult) -> Model:
    return binary_fit.model


@pytest.fixture
def stored(model: Model, tmp_path: Path) -> Path:
    path = tmp_path / "a.model"
    model.save(path)
    return path


def test_a_model_comes_back_bit_for_bit(model: Model, stored: Path) -> None:
    again = Model.open(stored)
    assert [t.tobytes() for t in again.theta] == [t.tobytes() for t in model.theta]
    assert again.constants.tobytes() == model.constants.tobytes()
    assert again.forces(FRAME).tobytes() == model.forces(FRAME).tobytes()
    assert again.velocities(FRAME).tobytes() == model.velocities(FRAME).tobytes()
    assert again.energy(FRAME) == model.energy(FRAME)
    assert again.force_uncertainty(FRAME).tobytes() == model.force_uncertainty(FRAME).tobytes()
    assert again.extrapolated(FRAME) == model.extrapolated(FRAME)
    assert (again.labels, again.bond_labels, again.dim) == (model.labels, model.bond_labels, model.dim)
    assert dict(again.units) == dict(model.units)
    assert json.dumps(again.provenance, sort_keys=True) == json.dumps(model.provenance, sort_keys=True)


def test_saving_what_was_opened_writes_the_same_numbers(stored: Path, tmp_path: Path) -> None:
    Model.open(stored).save(tmp_path / "b.model")

    def numbers(path: Path) -> dict[str, bytes]:
        return {
            str(file.relative_to(path)): file.read_bytes()
            for file in sorted(path.rglob("*"))
            if file.is_file() and file.suffix != ".json"
        }

    assert numbers(tmp_path / "b.model") == numbers(stored)


def test_forces_are_minus_the_derivative_of_the_energy(model: Model) -> None:
    h = 1e-5
    forces = model.forces(FRAME)
    for i, axis in ((0, 0), (7, 1), (26, 2)):
        energies = []
        for sign in (1, -1):
            q = FRAME.q.copy()
            q[i, axis] += sign * h
            energies.append(model.potential_energy(replace(FRAME, q=q)))
        assert -(energies[0] - energies[1]) / (2 * h) == pytest.approx(forces[i, axis], rel=1e-5, abs=1e-4)


def test_energies_add_up(model: Model) -> None:
    assert FRAME.p is not None
    assert FRAME.potential_energy is not None
    kinetic = float(0.5 * np.sum(FRAME.p**2 / FRAME.masses[:, None]))
    assert model.kinetic_energy(FRAME) == pytest.approx(kinetic, rel=1e-8)
    assert model.potential_energy(FRAME) == pytest.approx(FRAME.potential_energy, rel=1e-7)
    assert model.energy(FRAME) == pytest.approx(kinetic + FRAME.potential_energy, rel=1e-7)
    assert model.energy(replace(FRAME, p=None)) == model.potential_energy(FRAME)
    assert model.kinetic_energy(replace(FRAME, p=np.zeros_like(FRAME.q))) == 0.0


def test_constants_shift_energies_by_species(model: Model) -> None:
    shifted = replace(model, constants=model.constants + np.array([0.25, -1.5]))
    counts = np.bincount(FRAME.species)
    expected = 0.25 * counts[0] - 1.5 * counts[1]
    assert shifted.potential_energy(FRAME) - model.potential_energy(FRAME) == pytest.approx(expected, rel=1e-10)
    assert shifted.forces(FRAME).tobytes() == model.forces(FRAME).tobytes()


def test_species_are_matched_by_name_not_by_number(model: Model) -> None:
    swapped = replace(FRAME, labels=("B", "A"), species=1 - FRAME.species)
    assert model.forces(swapped).tobytes() == model.forces(FRAME).tobytes()
    assert relative(model.forces(FRAME), force_of(FRAME)) < 1e-7


def test_edges_outside_the_training_range_are_counted(model: Model) -> None:
    outside, total = model.extrapolated(FRAME)
    assert total > 27
    q = FRAME.q.copy()
    q[1] = q[0] + np.array([0.3, 0.0, 0.0])
    closer, _ = model.extrapolated(replace(FRAME, q=q))
    assert closer >= outside + 2


def many_body(model: Model, *, beside: bool = False) -> Model:
    """A many-body block sampled on the frame, alone or beside the pair block of the model."""
    graph = CutoffGraph(FRAME.labels, np.array([[1.5, 1.3], [1.3, 1.1]]))
    block = ManyBodyBlock.sample([FRAME], graph, n_features=4, n_radial=3, l_max=2, rng=np.random.default_rng(3))
    kept = [(b, t) for b, t in zip(model.blocks, model.theta, strict=True) if beside and b.kind == "pair"]
    blocks, theta = zip(*kept, (block, np.zeros(block.n_columns)), strict=True)
    return replace(model, blocks=blocks, theta=theta)


def test_edges_nearer_than_a_many_body_block_saw_are_counted(model: Model) -> None:
    alone = many_body(model)
    block = alone.blocks[0]
    assert isinstance(block, ManyBodyBlock)
    lower, cutoffs = block.layer.radial.lower, block.graph.cutoffs
    # the frame that it was sampled on, wherever it lies, is all inside
    for frame in (FRAME, replace(FRAME, q=FRAME.q + 7.0 * np.asarray(FRAME.box)[0]), replace(FRAME, q=1.0 + FRAME.q)):
        assert alone.extrapolated(frame) == (0, sum(1 for _ in pairs(FRAME, cutoffs)))
    for jitter in (0.05, 0.2, 0.3):
        other = liquids(11, 1, n_species=2, jitter=jitter)[0]
        found = list(pairs(other, cutoffs))
        s = other.species
        near = sum(r < lower[s[i], s[j]] for i, j, *_, r in found)
        assert alone.extrapolated(other) == (near, len(found))
        assert (near > 0) == (jitter > 0.1)
        # the edges of two blocks are all counted
        of_pairs = model.extrapolated(other)
        assert many_body(model, beside=True).extrapolated(other) == (near + of_pairs[0], len(found) + of_pairs[1])


def test_a_kind_of_pair_never_seen_has_all_its_edges_outside(model: Model) -> None:
    nothing = replace(model, extents={**model.extents, "pair": np.full((3, 2), np.nan)})
    outside, total = nothing.extrapolated(FRAME)
    assert outside == total > 27


def test_a_frame_that_does_not_fit_is_refused(model: Model) -> None:
    with pytest.raises(ModelError, match="species C is unknown here"):
        model.forces(replace(FRAME, labels=("A", "C")))
    flat = liquids(1, 1, dim=2, n_species=2)[0]
    with pytest.raises(ModelError, match="the model is 3-dimensional, the frame 2-dimensional"):
        model.energy(flat)
    resting = replace(FRAME, p=None)
    for ask in (model.velocities, model.kinetic_energy):
        with pytest.raises(ModelError, match="no momenta"):
            ask(resting)


def test_uncertainty_needs_the_factor_of_the_fit(model: Model) -> None:
    bare = replace(model, factors={})
    with pytest.raises(ModelError, match="no covariance of its force part"):
        bare.force_uncertainty(FRAME)
    assert np.all(model.force_uncertainty(FRAME) >= 0.0)
    assert model.velocity_uncertainty(FRAME).shape == FRAME.q.shape


def test_a_model_of_a_newer_version_is_refused(stored: Path) -> None:
    manifest = json.loads((stored / "_manifest.json").read_text())
    manifest["schema"] = MODEL_SCHEMA + 1
    (stored / "_manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match=f"has schema {MODEL_SCHEMA + 1}, newer .* update hamfit"):
        Model.open(stored)
    assert is_model(stored)


def test_a_store_without_its_manifest_or_with_half_of_it_is_no_model(stored: Path) -> None:
    manifest = stored / "_manifest.json"
    content = manifest.read_text()
    manifest.write_text(content[: len(content) // 2])
    with pytest.raises(StoreError, match="is not a complete model"):
        Model.open(stored)
    manifest.unlink()
    with pytest.raises(StoreError, match="is not a complete model"):
        Model.open(stored)
    assert not is_model(stored)


@pytest.mark.parametrize("name", ["readout/constants", "readout/1/coefficients", "features/1/weights"])
def test_a_damaged_or_missing_array_is_refused(stored: Path, name: str) -> None:
    chunk = next(f for f in (stored / name).iterdir() if f.name != "zarr.json")
    content = bytearray(chunk.read_bytes())
    content[3] ^= 64
    chunk.write_bytes(content)
    with pytest.raises(StoreError, match=f"{name}.*damaged"):
        Model.open(stored)
    shutil.rmtree(stored / name)
    with pytest.raises(StoreError, match=f"{name}.*damaged"):
        Model.open(stored)


def test_something_else_than_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "folder").mkdir()
    for name in ("notes.txt", "folder"):
        with pytest.raises(StoreError, match="is not a complete model"):
            Model.open(tmp_path / name)
        assert not is_model(tmp_path / name)
    with pytest.raises(StoreError, match="does not exist"):
        Model.open(tmp_path / "nothing")


def test_attributes_that_lack_a_field_are_refused(stored: Path) -> None:
    document = json.loads((stored / "zarr.json").read_text())
    del document["attributes"]["units"]
    (stored / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(StoreError, match=r"lacks 'units'|damaged"):
        Model.open(stored)


def test_a_model_describes_itself_in_json(stored: Path) -> None:
    told = json.loads(json.dumps(describe(stored)))
    assert told["kind"] == "model"
    assert told["labels"] == ["A", "B"]
    assert [block["kind"] for block in told["blocks"]] == ["kinetic", "pair"]
    assert told["provenance"]["options"]["cutoff"]


def test_coefficients_are_cut_block_by_block(model: Model) -> None:
    joined = np.concatenate(model.theta)
    parts = theta_of_blocks(model.blocks, joined)
    assert [p.tobytes() for p in parts] == [t.tobytes() for t in model.theta]
