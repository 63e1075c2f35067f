"""One-density models, compiled: functions of the distance and of the density as pieces of polynomials.

A many-body block with l_max = 0 and one radial function is an embedded-atom model (Daw and Baskes, Phys. Rev. B 29,
6443 (1984)): E = sum_i F_a(rho_i) with rho_i = sum_j g_ab(r_ij), for species a of the centre and b of the neighbour
(Finnis and Sinclair, Phil. Mag. A 50, 45 (1984), let g depend on both). A pair block beside it adds the sum over pairs
of phi_ab(r).

A part of F that is linear in the density is itself a sum over pairs: F_a - k_a y and phi_ab + k_a g_ab + k_b g_ba give
the same energy. With k = dF/dy at the mean density, the large parts that fits let cancel are gone before anything is
rounded. This is done where there is a pair block with the same cutoffs.

``Law.error`` of each function is the relative error of its slope, rms over distances (or over densities within
``embedding.TRAINED`` standard deviations of the mean). ``CompiledDensity.error`` is that of the whole force of a pair,
phi' + F_a'(rho_i) g_ab' + F_b'(rho_j) g_ba', rms over distances and over normally distributed densities at both ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hamfit.devices import AbstractDevice
from hamfit.features.block import AbstractBlock
from hamfit.features.curves import radial_slope
from hamfit.features.functions import DensityFunctions, PairFunctions
from hamfit.features.manybody_round import Round
from hamfit.features.pieces import (
    NOTHING,
    Function,
    Slope,
    compile_functions,
    n_pieces,
    values_and_slopes,
    weighted_sum,
)
from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph
from hamfit.graphs.channels import species_pairs
from hamfit.inference.compiled import AbstractCompiled, Counted, Law
from hamfit.inference.density_engine import DensityEngine
from hamfit.inference.device_density_engine import DeviceDensityEngine
from hamfit.inference.embedding import TRAINED, Embedding
from hamfit.inference.engine import AbstractEngine
from hamfit.integrators import Composition
from hamfit.kernels.cpu import SPLINE_DEGREE
from hamfit.kernels.density import Densities
from hamfit.kernels.pair_tables import Tables
from hamfit.kernels.piece_lanes import (
    FUNCTION_CORE2,
    FUNCTION_CUTOFF2,
    FUNCTION_FIRST,
    FUNCTION_LAST,
    FUNCTION_SCALE,
    FUNCTION_SHIFT,
    FUNCTION_WORDS,
)
from hamfit.relative import relative_errors
from hamfit.types import FloatArray, IntArray

_GRID = 2000
#: Densities at the ends of a pair, in standard deviations, and how often they occur.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(5)


@dataclass(frozen=True, slots=True, eq=False)
class CompiledDensity(AbstractCompiled[Densities]):
    """A one-density model, ready for ``kernels.density``.

    Its laws are the embedding functions of all species, then densities and pair functions of all pairs of species.
    """

    what: ClassVar[str] = "one density"

    error: float
    """Relative error of the force of a pair, rms, all functions together."""

    def on_processor(
        self, frame: Frame, rate: FloatArray, method: Composition, dt: float, threads: int
    ) -> AbstractEngine:
        """See ``AbstractCompiled.on_processor``."""
        return DensityEngine(self, frame, rate, method, dt, threads)

    def on_device(
        self, device: AbstractDevice, frame: Frame, rate: FloatArray, method: Composition, dt: float
    ) -> AbstractEngine:
        """See ``AbstractCompiled.on_device``."""
        return DeviceDensityEngine(device, self, frame, rate, method, dt)


@dataclass(frozen=True, slots=True, eq=False)
class _Radial:
    """A function of the distance with its place in the model."""

    kind: str
    label: str
    function: Function


def functions_of(
    blocks: Sequence[tuple[AbstractBlock, FloatArray]],
) -> tuple[tuple[DensityFunctions, FloatArray] | None, tuple[PairFunctions, FloatArray] | None] | None:
    """The one-density block, the pair block, or a pair block with cutoffs beside the density; None for anything else.

    One of the two may be None.
    """
    density: tuple[DensityFunctions, FloatArray] | None = None
    pair: tuple[PairFunctions, FloatArray] | None = None
    for block, theta in blocks:
        one, two = block.density_functions, block.pair_functions
        if one is not None and two is None and density is None:
            density = one, theta
        elif (
            two is not None
            and one is None
            and pair is None
            and (len(blocks) == 1 or isinstance(two.graph, CutoffGraph))
        ):
            pair = two, theta
        else:
            return None
    return (density, pair) if len(blocks) == 1 or density is not None else None


def compile_density(
    density: tuple[DensityFunctions, FloatArray],
    pair: tuple[PairFunctions, FloatArray] | None,
    extents: FloatArray,
    constants: FloatArray,
) -> CompiledDensity:
    """Compile a one-density block, with or without a pair block.

    extents (C, 2): shortest and longest distance of the pair block's channels, not used without one; constants (S,):
    energy of a particle beside the features, nan where unknown.
    """
    layer, graph = density[0].layer, density[0].graph
    labels, reach = graph.labels, layer.radial.cutoff
    species = species_pairs(len(labels))
    seen = np.array([[layer.radial.lower[a, b], np.inf] for a, b in species])
    pair_reach = np.zeros_like(reach)
    counted = [Counted(_by_channel(reach), density[0].extent)]
    if pair is not None:
        assert isinstance(pair[0].graph, CutoffGraph)
        pair_reach = pair[0].graph.cutoffs
        acts = np.array([pair_reach[a, b] > 0.0 for a, b in species])
        seen[acts] = extents[acts]
        counted.append(Counted(_by_channel(pair_reach), extents))
    moves = pair is not None and np.array_equal(reach, pair_reach)
    embeddings = [Embedding.of(layer, density[1], s, moves=moves) for s in range(len(labels))]
    radials, which = _radials(layer, labels, embeddings, pair, pair_reach, seen)
    functions = [radial.function for radial in radials]
    tables = compile_functions([*functions, NOTHING])
    curves = compile_functions([e.function for e in embeddings])
    laws = [_embedding_law(e, labels[s], curves, s) for s, e in enumerate(embeddings)]
    laws += [_radial_law(radial, tables, k) for k, radial in enumerate(radials)]
    ends = np.array([*(function.ends[-1] for function in functions), 0.0])
    return CompiledDensity(
        tuple(laws),
        Densities(which, _rows(tables, ends), tables, curves, np.array([e.empty for e in embeddings])),
        np.array([e.constant for e in embeddings]) + np.nan_to_num(constants),
        CutoffGraph(labels, np.maximum(reach, pair_reach)),
        tuple(counted),
        _pair_force_error(functions, embeddings, tables, curves, which),
    )


def _by_channel(lengths: FloatArray) -> FloatArray:
    return np.array([lengths[a, b] for a, b in species_pairs(len(lengths))])


def _radials(
    layer: Round,
    labels: tuple[str, ...],
    embeddings: list[Embedding],
    pair: tuple[PairFunctions, FloatArray] | None,
    pair_reach: FloatArray,
    seen: FloatArray,
) -> tuple[list[_Radial], IntArray]:
    """All functions of the distance, and which of them a pair of species has, as in ``kernels.density.Densities``."""
    radials: list[_Radial] = []
    which = np.full((len(labels), len(labels), 3), -1, dtype=np.int64)
    for c, (a, b) in enumerate(species_pairs(len(labels))):
        core = _core(layer, a, b, float(seen[c, 0]), float(pair_reach[a, b]))
        slopes = {(x, y): density_slope(layer, x, y) for x, y in ((a, b), (b, a))}
        if layer.radial.cutoff[a, b] > 0.0:
            for (x, y), slope in slopes.items():
                which[x, y, 0] = which[y, x, 1] = len(radials)
                function = _function(slope, core, float(layer.radial.cutoff[a, b]), 0.0)
                radials.append(_Radial("density of", f"{labels[y]} at {labels[x]}", function))
        if pair is not None and pair_reach[a, b] > 0.0:
            # what was moved out of F, at both ends
            terms = [(embeddings[x].moved, slopes[x, y]) for x, y in ((a, b), (b, a)) if embeddings[x].moved]
            which[a, b, 2] = which[b, a, 2] = len(radials)
            terms.insert(0, (1.0, radial_slope(pair[0].radial, pair[1], c)))
            function = _function(weighted_sum(terms), core, float(pair_reach[a, b]), _end_value(pair, c))
            radials.append(_Radial("pair", f"{labels[a]}-{labels[b]}", function))
    # what is not there is the function after the last
    which[which < 0] = len(radials)
    return radials, which


def _core(layer: Round, a: int, b: int, seen: float, pair_cutoff: float) -> float:
    """Distance that no pair of the training data was nearer than; a part of the cutoff where none was seen."""
    known = [float(layer.radial.lower[a, b])] if layer.radial.cutoff[a, b] > 0.0 else []
    if pair_cutoff > 0.0:
        known.append(min(seen, 0.9 * pair_cutoff) if np.isfinite(seen) and seen > 0.0 else 0.5 * pair_cutoff)
    return min(known, default=0.0)


def _function(slope: Slope, core: float, cutoff: float, known: float) -> Function:
    # pieces in r^2 need no square root
    return Function(slope, (0.5 * core, core, cutoff), anchor=-1, known=known, input_map="r2")


def density_slope(layer: Round, a: int, b: int) -> Slope:
    """dg_ab/dr of centre a and neighbour b, in standard deviations of the density at a."""
    n = layer.radial.n_bumps
    mixing = layer.mixing[a, b * n : (b + 1) * n, 0] / layer.deviation[a, 0]

    def slope(r: FloatArray) -> FloatArray:
        centre, neighbour = np.full(r.size, a, dtype=np.int64), np.full(r.size, b, dtype=np.int64)
        return np.asarray(layer.radial.evaluate(r, centre, neighbour)[1] @ mixing)

    return slope


def _end_value(pair: tuple[PairFunctions, FloatArray], c: int) -> float:
    radial = pair[0].radial
    return float(radial.values(c, radial.cutoffs[c : c + 1])[0] @ pair[1][radial.columns(c)])


def _embedding_law(embedding: Embedding, label: str, curves: Tables, s: int) -> Law:
    middle = embedding.shift
    y = np.linspace(middle - TRAINED, middle + TRAINED, _GRID)
    errors = relative_errors(values_and_slopes(curves, s, y)[1], embedding.slope(y))
    seen = (embedding.mean - embedding.deviation * TRAINED, embedding.mean + embedding.deviation * TRAINED)
    form = f"{n_pieces(curves, s)} pieces of degree {SPLINE_DEGREE} in rho"
    return Law(f"embedding of {label}", np.inf, seen, np.inf, form, *errors)


def _radial_law(radial: _Radial, tables: Tables, k: int) -> Law:
    _, core, cutoff = radial.function.ends
    r = np.linspace(core, cutoff, _GRID, endpoint=False)
    errors = relative_errors(values_and_slopes(tables, k, r)[1], radial.function.slope(r))
    form = f"{n_pieces(tables, k)} pieces of degree {SPLINE_DEGREE} in r^2"
    return Law(f"{radial.kind} {radial.label}", cutoff, (core, cutoff), cutoff, form, *errors)


def _pair_force_error(
    functions: list[Function], embeddings: list[Embedding], tables: Tables, curves: Tables, which: IntArray
) -> float:
    weights = np.multiply.outer(_WEIGHTS, _WEIGHTS).ravel() / np.sum(_WEIGHTS) ** 2
    steep = []
    for s, embedding in enumerate(embeddings):
        y = embedding.shift + _NODES
        steep.append((embedding.slope(y), values_and_slopes(curves, s, y)[1]))
    size = error = 0.0
    for a, b in species_pairs(len(embeddings)):
        there = [int(k) for k in which[a, b] if k < len(functions)]
        if not there:
            continue
        core, cutoff = functions[there[0]].ends[1], max(functions[k].ends[-1] for k in there)
        r = np.linspace(core, cutoff, _GRID, endpoint=False)
        slopes = np.zeros((2, 3, r.size))
        for place, k in enumerate(which[a, b].tolist()):
            if k < len(functions):
                inside = r < functions[k].ends[-1]
                slopes[0, place, inside] = functions[k].slope(r[inside])
                slopes[1, place, inside] = values_and_slopes(tables, k, r[inside])[1]
        exact, got = (
            slopes[form, 2]
            + np.repeat(steep[a][form], _NODES.size)[:, None] * slopes[form, 0]
            + np.tile(steep[b][form], _NODES.size)[:, None] * slopes[form, 1]
            for form in range(2)
        )
        size += float(weights @ np.mean(exact**2, axis=1))
        error += float(weights @ np.mean((got - exact) ** 2, axis=1))
    return float(np.sqrt(error / size)) if size > 0.0 else 0.0


def _rows(tables: Tables, ends: FloatArray) -> FloatArray:
    """Functions as rows for the lanes, which know the last segment of each: from the core to the cutoff."""
    last = tables.segments[1:] - 1
    rows = np.zeros((last.size, FUNCTION_WORDS))
    rows[:, FUNCTION_CUTOFF2] = ends * ends
    rows[:, FUNCTION_CORE2] = tables.ends[last - 1] * tables.ends[last - 1]
    rows[:, FUNCTION_SHIFT] = -tables.low[last] * tables.scale[last]
    rows[:, FUNCTION_SCALE] = tables.scale[last]
    rows[:, FUNCTION_LAST] = tables.pieces[last] - 1
    rows[:, FUNCTION_FIRST] = tables.first[last]
    # nothing is nowhere, not near either
    rows[-1, FUNCTION_CORE2] = 0.0
    return rows
