"""Functions compiled from their slopes, and one-density models compiled from such functions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from density_cases import WORLDS, DensityWorld, compiled, density_world
from numpy.polynomial import polynomial

from hamfit.features.pieces import Function, compile_functions, values_and_slopes
from hamfit.features.radial import InputMap
from hamfit.inference.density import CompiledDensity, compile_density, functions_of
from hamfit.inference.embedding import Embedding
from hamfit.kernels.pair_tables import Tables
from hamfit.types import FloatArray
from worlds import CASES

each_world = pytest.mark.parametrize("world", WORLDS, ids=str)


def wave(r: FloatArray) -> FloatArray:
    return np.asarray(np.sin(3.0 * r) + 1.0 / r**4)


def wave_slope(r: FloatArray) -> FloatArray:
    return np.asarray(3.0 * np.cos(3.0 * r) - 4.0 / r**5)


ENDS = (0.7, 1.1, 1.9, 2.3)


def wave_function(input_map: InputMap, anchor: int) -> Function:
    return Function(wave_slope, ENDS, anchor, float(wave(np.array([ENDS[anchor]]))[0]), input_map)


@pytest.mark.parametrize("anchor", [0, 1, 2, 3, -1])
@pytest.mark.parametrize("input_map", ["r", "1/r", "r2"])
def test_a_known_function_comes_back_with_its_values(input_map: InputMap, anchor: int) -> None:
    tables = compile_functions([wave_function(input_map, anchor)])
    r = np.linspace(ENDS[0], ENDS[-1], 1777)
    values, slopes = values_and_slopes(tables, 0, r)
    np.testing.assert_allclose(slopes, wave_slope(r), rtol=0, atol=1e-11)
    np.testing.assert_allclose(values, wave(r), rtol=0, atol=1e-12)


@pytest.mark.parametrize("input_map", ["r", "1/r", "r2"])
def test_beyond_the_ends_the_tangent_goes_on(input_map: InputMap) -> None:
    tables = compile_functions([wave_function(input_map, 1)])
    for end, places in ((ENDS[0], np.array([0.1, 0.5])), (ENDS[-1], np.array([2.5, 9.0]))):
        values, slopes = values_and_slopes(tables, 0, places)
        at = np.array([end])
        np.testing.assert_allclose(slopes, np.repeat(wave_slope(at), 2), rtol=1e-10)
        np.testing.assert_allclose(values, wave(at) + wave_slope(at) * (places - end), rtol=1e-10)


def test_several_functions_are_channels_of_one_table() -> None:
    line = Function(lambda r: np.full_like(r, 2.0), (1.0, 3.0), 0, 5.0, "r")
    tables = compile_functions([wave_function("r2", -1), line, wave_function("r", 0)])
    r = np.linspace(1.2, 2.2, 7)
    np.testing.assert_allclose(values_and_slopes(tables, 1, r)[0], 5.0 + 2.0 * (r - 1.0), rtol=1e-14)
    for c in (0, 2):
        np.testing.assert_allclose(values_and_slopes(tables, c, r)[0], wave(r), rtol=0, atol=1e-12)


def joints(tables: Tables, c: int) -> list[tuple[FloatArray, FloatArray]]:
    """Value and slope by the mapped distance on both sides of every joint within a segment."""
    found = []
    for g in range(tables.segments[c], tables.segments[c + 1]):
        rows = tables.coefficients[tables.first[g] : tables.first[g] + tables.pieces[g]]
        ends, starts = (np.array([polynomial.polyval(x, row) for row in rows]) for x in (1.0, 0.0))
        rises, begins = (np.array([polynomial.polyval(x, polynomial.polyder(row)) for row in rows]) for x in (1.0, 0.0))
        found.append((np.stack([ends[:-1], rises[:-1]]), np.stack([starts[1:], begins[1:]])))
    return found


@each_world
def test_energy_and_force_go_on_without_a_step_from_piece_to_piece(world: DensityWorld) -> None:
    stated = compiled(world).functions
    assert isinstance(stated, CompiledDensity)
    for tables in (stated.kernel.functions, stated.kernel.embeddings):
        for c in range(len(tables.nearest)):
            for left, right in joints(tables, c):
                size = np.abs(left).max(axis=1, initial=0.0)[:, None] + 1e-300
                assert np.abs(left - right).max(initial=0.0) <= 1e-12 * size.max()


@each_world
def test_laws_state_the_error_that_is_measured(world: DensityWorld) -> None:
    """Between the points where it was measured, with the features as the judge."""
    model = compiled(world)
    stated = model.functions
    assert isinstance(stated, CompiledDensity)
    assert stated.error < 1e-11
    layer = world.model.blocks[-1].layer
    n = layer.radial.n_bumps
    laws = [law for law in model.laws if law.label.startswith("density of")]
    assert laws
    numbers = [k for k, law in enumerate(model.laws[len(world.frame.labels) :]) if law in laws]
    for k, law in zip(numbers, laws, strict=True):
        _, _, neighbour, _, centre = law.label.split()
        a, b = world.frame.labels.index(centre), world.frame.labels.index(neighbour)
        r = np.linspace(law.extent[0], law.cutoff * (1.0 - 1e-12), 3333)
        mixing = layer.mixing[a, b * n : (b + 1) * n, 0] / layer.deviation[a, 0]
        species = np.full(r.size, a), np.full(r.size, b)
        values, slopes = (x @ mixing for x in layer.radial.evaluate(r, *species))
        got = values_and_slopes(stated.kernel.functions, k, r)
        error = np.sqrt(np.mean((got[1] - slopes) ** 2) / np.mean(slopes**2))
        assert error < 3.0 * law.error + 1e-14
        assert np.abs(got[1] - slopes).max() < 3.0 * law.worst * np.sqrt(np.mean(slopes**2)) + 1e-14
        np.testing.assert_allclose(got[0], values, rtol=0, atol=1e-11 * np.abs(values).max())


def embeddings(world: DensityWorld, *, moves: bool) -> list[Embedding]:
    layer = world.model.blocks[-1].layer
    return [Embedding.of(layer, world.model.theta[-1], s, moves=moves) for s in range(len(world.frame.labels))]


@pytest.mark.parametrize("moves", [False, True])
@each_world
def test_what_is_taken_out_of_f_is_put_back_by_constant_and_pairs(world: DensityWorld, moves: bool) -> None:
    layer, theta = world.model.blocks[-1].layer, world.model.theta[-1]
    for s, embedding in enumerate(embeddings(world, moves=moves)):
        tables = compile_functions([embedding.function])
        rho = embedding.mean + embedding.deviation * np.linspace(-5.0, 5.0, 41)
        standard = (rho - embedding.mean) / embedding.deviation
        own = slice(layer.first[s], layer.first[s + 1])
        exact = np.tanh(np.multiply.outer(standard, layer.weights[0, own]) + layer.bias[own]) @ theta[own]
        exact += theta[layer.n_features + s] * standard
        y = rho / embedding.deviation + embedding.empty
        got = values_and_slopes(tables, 0, y)[0] + embedding.constant + embedding.moved * rho / embedding.deviation
        np.testing.assert_allclose(got, exact, rtol=0, atol=1e-12 * (np.abs(exact).max() + np.abs(theta).sum()))
        assert abs(values_and_slopes(tables, 0, np.array([embedding.shift]))[0][0]) < 1e-15 * np.abs(theta).sum()
        if moves:
            assert abs(embedding.slope(np.array([embedding.shift]))[0]) < 1e-13 * np.abs(theta).sum()
        else:
            assert embedding.moved == 0.0


def test_f_covers_everything_from_no_neighbours_to_as_many_again() -> None:
    embedding = replace(embeddings(WORLDS[5], moves=False)[0], mean=40.0, deviation=2.0)
    function = embedding.function
    assert function.ends[0] > 0.0
    assert function.ends[0] <= embedding.empty
    assert function.ends[-1] >= embedding.shift + 20.0
    narrow = replace(embedding, deviation=1e-9)
    assert narrow.function.ends[-1] < 1000.0


def test_moving_needs_pair_functions_of_the_same_cutoffs() -> None:
    for share, moved in ((1.0, True), (0.8, False)):
        world = density_world(CASES[5], taper="smooth", pair_share=share)
        stated = compiled(world).functions
        assert isinstance(stated, CompiledDensity)
        middle = np.array([embeddings(world, moves=False)[0].shift])
        slope = values_and_slopes(stated.kernel.embeddings, 0, middle)[1][0]
        assert (abs(slope) < 1e-12) == moved


def test_parts_that_cancel_are_gone_before_anything_is_rounded() -> None:
    """A pair function that undoes what F holds in amounts of 1e6, as ill-conditioned fits make them."""
    world = density_world(CASES[5], taper="smooth", size=1e6)
    theta = [t.copy() for t in world.model.theta]
    whole = compiled(world)
    assert isinstance(whole.functions, CompiledDensity)
    assert whole.functions.error < 1e-11
    linear = np.zeros_like(theta[-1])
    layer = world.model.blocks[-1].layer
    linear[layer.n_features :] = 1e6
    model = replace(world.model, theta=(theta[0], linear))
    acting = functions_of([(b, t) for b, t in zip(model.blocks, model.theta, strict=True)])
    assert acting is not None
    density, pair = acting
    assert density is not None
    stated = compile_density(density, pair, model.extents["pair"], model.constants)
    # F is linear, so nothing of it is left
    y = stated.kernel.empty[0] + np.linspace(0.0, 30.0, 50)
    np.testing.assert_array_equal(values_and_slopes(stated.kernel.embeddings, 0, y), 0.0)
