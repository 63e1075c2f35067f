"""Each kernel of the many-body block against the processor's, on edges of two species in a box full of images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from hamfit.devices import AbstractDevice
from hamfit.features.manybody_moments import bump_moments as host_moments
from hamfit.features.manybody_moments import edge_species, invariants, monomials, sensitivity
from hamfit.features.manybody_radial import RadialBumps
from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph, Edges
from hamfit.kernels.gpu import DeviceEdges
from hamfit.kernels.gpu_manybody import (
    DeviceBumps,
    DeviceMonomials,
    bump_moments,
    list_terms,
    standardise,
    sum_rows,
    tanh_slopes,
    term_derivatives,
)
from hamfit.kernels.manybody import accumulate_derivatives, accumulate_rows
from hamfit.types import FloatArray, IntArray

CUTOFFS = np.array([[2.3, 1.9], [1.9, 1.7]])
CENTRES = np.array([4, 0, 2, 5], dtype=np.int64)
each_rank = pytest.mark.parametrize("l_max", range(4))


@dataclass(frozen=True)
class World:
    """Edges on the host and on the device, of particles of both species; particle 0 has no neighbours at all."""

    device: AbstractDevice
    edges: Edges
    species: IntArray
    radial: RadialBumps

    @property
    def on_device(self) -> DeviceEdges:
        up = self.device.upload
        e = self.edges
        return DeviceEdges(up(e.offsets), up(e.neighbour), up(e.vector), up(e.distance), up(e.channel))

    @property
    def bumps(self) -> DeviceBumps:
        radial = self.radial
        per_width = (radial.n_bumps - 1) / (radial.width * np.log(radial.cutoff / radial.lower))
        up = self.device.upload
        return DeviceBumps(up(radial.lower), up(radial.cutoff), up(per_width), radial.n_bumps, radial.width)

    def monomials(self, l_max: int) -> DeviceMonomials:
        tensor, up = monomials(l_max), self.device.upload
        return DeviceMonomials(up(tensor.exponents), up(tensor.degree), up(tensor.multiplicity), l_max)


@pytest.fixture
def world(device: AbstractDevice) -> World:
    rng = np.random.default_rng(17)
    q = np.vstack([[0.0, 0.0, 20.0], rng.uniform(0.0, 2.2, (6, 3))])
    frame = Frame(
        q=q,
        species=np.array([0, 1, 0, 1, 1, 0, 0], dtype=np.int64),
        labels=("A", "B"),
        masses=np.ones(7),
        box=np.diag([2.2, 2.3, 40.0]),
        periodic=(True, True, False),
    )
    edges = CutoffGraph(("A", "B"), CUTOFFS).prepare(frame).edges(CENTRES)
    # particle 0 meets its own images only, and is left out to have a centre without edges
    counts = np.diff(edges.offsets)
    keep = np.repeat(CENTRES != 0, counts)
    offsets = np.concatenate([[0], np.cumsum(np.where(CENTRES == 0, 0, counts))])
    edges = Edges(offsets, edges.neighbour[keep], edges.vector[keep], edges.distance[keep], edges.channel[keep])
    radial = RadialBumps(np.array([[0.7, 0.5], [0.5, 0.6]]), CUTOFFS, 4, 2.0)
    return World(device, edges, frame.species, radial)


def close(device: AbstractDevice, result: object, expected: FloatArray) -> None:
    """Equal to rounding of the largest number: sums cancel."""
    np.testing.assert_allclose(
        device.download(result), expected, rtol=0, atol=1e-13 * max(np.abs(expected).max(initial=0.0), 1e-300)
    )


@each_rank
def test_moments_equal_those_of_the_processor(world: World, l_max: int) -> None:
    device = world.device
    expected = host_moments(world.edges, CENTRES, world.species, world.radial, l_max)
    result = bump_moments(
        device,
        world.on_device,
        device.upload(CENTRES),
        device.upload(world.species),
        world.bumps,
        world.monomials(l_max),
    )
    close(device, result, expected)
    assert not expected[1].any()
    assert expected[0].any()


@each_rank
def test_invariants_are_standardised_with_their_sensitivity(world: World, l_max: int) -> None:
    device, rng = world.device, np.random.default_rng(5)
    moments = rng.normal(size=(9, monomials(l_max).degree.size, 3))
    mean, deviation = rng.normal(size=3 * (l_max + 1)), rng.uniform(0.5, 2.0, 3 * (l_max + 1))
    on_device = device.upload(moments)
    result = standardise(device, on_device, device.upload(mean), device.upload(deviation), world.monomials(l_max))
    close(device, result, (invariants(moments, l_max) - mean) / deviation)
    by_component = deviation.reshape(l_max + 1, 3)[monomials(l_max).degree]
    close(device, on_device, sensitivity(moments, l_max) / by_component)


def test_slopes_are_those_of_tanh(device: AbstractDevice) -> None:
    rng = np.random.default_rng(6)
    activation, bias = rng.normal(size=(37, 11)), rng.normal(size=11)
    on_device = device.upload(activation)
    tanh_slopes(device, on_device, device.upload(bias))
    close(device, on_device, 1.0 - np.tanh(activation + bias) ** 2)


def test_terms_are_listed_by_species_then_centre_the_own_one_first(world: World) -> None:
    device, edges, species = world.device, world.edges, world.species
    position = np.arange(species.size) * 3
    terms = list_terms(
        device, world.on_device, device.upload(CENTRES), device.upload(species), device.upload(position), 3
    )
    expected: list[tuple[int, int, int]] = []
    first = [0]
    # a third species of which there are no particles has no terms
    for s in range(3):
        for row, centre in enumerate(CENTRES):
            expected += [(-1, row, 3 * centre)] if species[centre] == s else []
            for e in range(edges.offsets[row], edges.offsets[row + 1]):
                j = edges.neighbour[e]
                expected += [(e, row, 3 * j)] if species[j] == s else []
            first.append(len(expected))
    listed = np.column_stack([device.download(a) for a in (terms.edge, terms.row, terms.owner)])
    np.testing.assert_array_equal(listed, expected)
    np.testing.assert_array_equal(device.download(terms.first), first)


@each_rank
@pytest.mark.parametrize("n_radial", [3, 150])
def test_derivatives_of_terms_equal_those_of_the_processor(world: World, l_max: int, n_radial: int) -> None:
    # 150 channels: more invariants than a block has threads
    device, edges, species, rng = world.device, world.edges, world.species, np.random.default_rng(8)
    tensor, width = monomials(l_max), world.radial.n_bumps
    mixing = rng.normal(size=(2, 2 * width, n_radial))
    response = rng.normal(size=(species.size, tensor.degree.size, n_radial))
    up, on_device = device.upload, world.on_device
    everyone = up(np.arange(species.size))
    terms = list_terms(device, on_device, up(CENTRES), up(species), everyone, 2)
    first, edge, row, owner = (device.download(a) for a in (terms.first, terms.edge, terms.row, terms.owner))
    centre_species = edge_species(edges, species[CENTRES])
    neighbour_species = species[edges.neighbour]
    for s in range(2):
        begin, end = int(first[s * CENTRES.size]) + 1, int(first[(s + 1) * CENTRES.size])
        result = term_derivatives(
            device,
            on_device,
            up(CENTRES),
            up(species),
            terms,
            begin,
            end,
            s,
            world.bumps,
            up(mixing[s]),
            world.monomials(l_max),
            up(response),
            2,
        )
        expected = np.zeros((end - begin, 2, (l_max + 1) * n_radial))
        for t in range(begin, end):
            own = edge[t] < 0
            chosen = np.arange(edges.offsets[row[t]], edges.offsets[row[t] + 1]) if own else edge[t : t + 1]
            sign = 1.0 if own else -1.0
            towards = (neighbour_species if own else centre_species)[chosen]
            values, slopes = world.radial.evaluate(edges.distance[chosen], np.full(chosen.size, s), towards)
            mixtures = mixing[s].reshape(2, width, n_radial)[towards]
            accumulate_derivatives(
                sign * edges.vector[chosen],
                edges.distance[chosen],
                sign,
                np.full(chosen.size, owner[t]),
                np.full(chosen.size, t - begin),
                np.einsum("eb,ebc->ec", values, mixtures),
                np.einsum("eb,ebc->ec", slopes, mixtures),
                response,
                tensor.exponents,
                tensor.degree,
                expected,
            )
        close(device, result, expected.reshape(-1, expected.shape[2]))


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("width", [5, 301])
@pytest.mark.parametrize("weighted", [True, False])
def test_rows_are_sums_over_terms(device: AbstractDevice, dim: int, width: int, weighted: bool) -> None:
    rng = np.random.default_rng(9)
    counts = np.array([0, 4, 1, 0, 6])
    first = 2 + np.concatenate([[0], np.cumsum(counts)])
    owner = rng.integers(0, 3, 2 + counts.sum())
    values, slopes = rng.normal(size=(counts.sum(), dim, width)), rng.normal(size=(3, width))
    out = rng.normal(size=(2 + 5 * dim + 1, width + 7))
    expected = out.copy()
    rows = np.zeros((5, dim, width))
    target = np.repeat(np.arange(5), counts)
    accumulate_rows(values, target, owner[2:], slopes if weighted else np.ones_like(slopes), 0, 0, rows)
    expected[2 : 2 + 5 * dim, 4 : 4 + width] = rows.reshape(-1, width)
    on_device, up = device.upload(out), device.upload
    sum_rows(
        device,
        up(values.reshape(-1, width)),
        up(slopes) if weighted else None,
        up(first),
        up(owner),
        dim,
        on_device,
        2,
        4,
    )
    close(device, on_device, expected)
