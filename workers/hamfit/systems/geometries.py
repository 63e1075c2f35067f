"""Where particles stand at rest and who is bonded to whom: chain, ring, square and cubic lattice,
face-centred cubic.

A geometry is a value with no physics in it. Positions are multiples of one spacing, so that a potential
whose rest length is that spacing starts free of stress, and lattices of all sizes look the same to a single
bond. Orthorhombic boxes only: the triclinic cells of real data come from files, not from here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal, TypeAlias

import numpy as np

from hamfit.errors import SpecError
from hamfit.types import FloatArray, IntArray

GeometryName: TypeAlias = Literal["chain", "ring", "square", "cubic"]
"""The bonded geometries."""

_AXES = {"chain": 1, "ring": 1, "square": 2, "cubic": 3}
_EXAMPLE = {"chain": "10", "ring": "5", "square": "3x3", "cubic": "2x2x2"}
_NEAR, _DIAGONAL = 0, 1


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """Sites and bonds in d dimensions."""

    sites: FloatArray
    """Rest positions, (N, d)."""
    bonds: IntArray
    """Bonded pairs, (B, 2)."""
    bond_types: IntArray
    """0 for nearest neighbours, 1 for diagonals, (B,)."""
    bond_labels: tuple[str, ...]
    """Names of the bond types."""
    edges: FloatArray | None
    """Edge lengths of the box, (d,); None for an open system."""
    periodic: tuple[bool, ...]
    """Whether each axis repeats, d entries."""


def bonded_geometry(
    geometry: str,
    shape: tuple[int, ...],
    *,
    dim: int | None = None,
    periodic: bool = False,
    diagonals: bool = False,
    spacing: float = 1.0,
) -> Geometry:
    """Sites and bonds of a geometry, embedded in `dim` dimensions (by default as few as it needs).

    A periodic lattice closes along its own axes only: a periodic chain in three dimensions is a line that
    repeats along x and is free in y and z. `diagonals` adds the face diagonals as a second type of bond,
    without which square and cubic lattices shear freely. A ring is a regular polygon whose sides are
    `spacing`.

    Raises:
        SpecError: the numbers in `shape`, `dim`, `periodic` and `diagonals` do not fit the geometry.

    """
    axes = _AXES[geometry]
    if len(shape) != axes:
        raise SpecError(
            f"shape {'x'.join(map(str, shape))} has {len(shape)} numbers, a {geometry} needs {axes};"
            f" write it like {_EXAMPLE[geometry]}"
        )
    least = 2 if geometry == "ring" else axes
    dim = least if dim is None else dim
    if not least <= dim <= 3:
        raise SpecError(f"a {geometry} lives in {least} to 3 dimensions; dim is {dim}")
    if diagonals and axes == 1:
        raise SpecError(f"a {geometry} has no diagonals; leave them out or take a square or cubic geometry")
    if geometry == "ring":
        return _ring(shape[0], dim, periodic, spacing)
    return _lattice(geometry, shape, dim, periodic, diagonals, spacing)


def fcc(cells: tuple[int, ...], density: float) -> tuple[FloatArray, FloatArray]:
    """A crystal of `density` particles per unit volume: positions (N, d) and edges (d,).

    Three numbers of cells give face-centred cubic, 4 atoms a cell; two give its plane analogue, the
    triangular lattice, 2 atoms a cell of edges a and sqrt(3) a.
    """
    if len(cells) == 3:
        a = (4.0 / density) ** (1.0 / 3.0)
        basis = np.array([[0.25, 0.25, 0.25], [0.75, 0.75, 0.25], [0.75, 0.25, 0.75], [0.25, 0.75, 0.75]])
        cell = np.array([a, a, a])
    else:
        a = math.sqrt(2.0 / (math.sqrt(3.0) * density))
        basis = np.array([[0.25, 0.25], [0.75, 0.75]])
        cell = np.array([a, math.sqrt(3.0) * a])
    corners = np.array(list(product(*(range(count) for count in cells))), dtype=np.float64)
    positions = (corners[:, None, :] + basis[None, :, :]).reshape(-1, len(cells)) * cell
    return positions, cell * np.array(cells, dtype=np.float64)


def ring_bonds(n: int) -> IntArray:
    """Bonds (i, i + 1) around a ring of n particles, (n, 2)."""
    first = np.arange(n, dtype=np.int64)
    return np.stack([first, (first + 1) % n], axis=1)


def _ring(n: int, dim: int, periodic: bool, spacing: float) -> Geometry:
    if n < 3:
        raise SpecError(f"a ring of {n} particles has no inside; take at least 3")
    if periodic:
        raise SpecError("a ring is closed in itself and open in space; leave periodic out, or take a periodic chain")
    angle = 2.0 * math.pi * np.arange(n) / n
    radius = spacing / (2.0 * math.sin(math.pi / n))
    sites = np.zeros((n, dim))
    sites[:, 0] = radius * np.cos(angle)
    sites[:, 1] = radius * np.sin(angle)
    return Geometry(sites, ring_bonds(n), np.zeros(n, dtype=np.int64), ("bond",), None, (False,) * dim)


def _lattice(
    geometry: str, shape: tuple[int, ...], dim: int, periodic: bool, diagonals: bool, spacing: float
) -> Geometry:
    if math.prod(shape) < 2:
        raise SpecError(f"a {geometry} of 1 particle has no bonds; take a larger shape")
    if periodic and min(shape) < 3:
        # With 2 sites along an axis both images of the neighbour are equally near: the bond would be
        # ambiguous.
        raise SpecError(f"a periodic {geometry} needs at least 3 sites along each axis; shape is {shape}")
    axes = len(shape)
    index = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    along = np.eye(axes, dtype=np.int64)
    # steps (1, 1) and (1, -1) in each coordinate plane
    across = [along[a] + sign * along[b] for a, b in combinations(range(axes), 2) for sign in (1, -1)]
    steps = [(step, _NEAR) for step in along] + [(step, _DIAGONAL) for step in across if diagonals]
    found = [(_bonds_along(index, step.tolist(), periodic), kind) for step, kind in steps]
    sites = np.zeros((index.size, dim))
    sites[:, :axes] = np.stack(np.unravel_index(index.ravel(), shape), axis=1) * spacing
    edges = None
    if periodic:
        # Free axes get an edge too, because a box is a full matrix; nothing depends on its length.
        edges = np.array([*shape, *[max(shape)] * (dim - axes)], dtype=np.float64) * spacing
    return Geometry(
        sites=sites,
        bonds=np.concatenate([pairs for pairs, _ in found]),
        bond_types=np.concatenate([np.full(len(pairs), kind, dtype=np.int64) for pairs, kind in found]),
        bond_labels=("bond", "diagonal") if diagonals else ("bond",),
        edges=edges,
        periodic=tuple(periodic and axis < axes for axis in range(dim)),
    )


def _bonds_along(index: IntArray, step: Sequence[int], periodic: bool) -> IntArray:
    """Pairs (site, site + step), wrapped around where the lattice is periodic."""
    if periodic:
        ends = np.roll(index, [-s for s in step], axis=tuple(range(index.ndim)))
        return np.stack([index.ravel(), ends.ravel()], axis=1)
    start = index[tuple(slice(max(-s, 0), n - max(s, 0)) for s, n in zip(step, index.shape, strict=True))]
    stop = index[tuple(slice(max(s, 0), n - max(-s, 0)) for s, n in zip(step, index.shape, strict=True))]
    return np.stack([start.ravel(), stop.ravel()], axis=1)
