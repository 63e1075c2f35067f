from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hamfit.errors import SpecError
from hamfit.systems.geometries import bonded_geometry, fcc


def lengths(geometry: str, shape: tuple[int, ...], **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Bond lengths at rest, nearest images taken, and the bond types."""
    lattice = bonded_geometry(geometry, shape, **options)
    vectors = lattice.sites[lattice.bonds[:, 0]] - lattice.sites[lattice.bonds[:, 1]]
    for axis, repeats in enumerate(lattice.periodic):
        if repeats and lattice.edges is not None:
            vectors[:, axis] -= lattice.edges[axis] * np.round(vectors[:, axis] / lattice.edges[axis])
    return np.linalg.norm(vectors, axis=1), lattice.bond_types


@pytest.mark.parametrize(
    ("geometry", "shape", "options", "near", "diagonal"),
    [
        ("chain", (7,), {}, 6, 0),
        ("chain", (7,), {"dim": 3, "periodic": True}, 7, 0),
        ("ring", (5,), {"dim": 3}, 5, 0),
        ("square", (3, 5), {"diagonals": True}, 2 * 5 + 3 * 4, 2 * 2 * 4),
        ("square", (3, 5), {"diagonals": True, "periodic": True, "dim": 3}, 30, 30),
        ("cubic", (2, 2, 2), {"diagonals": True}, 12, 12),
        ("cubic", (3, 5, 7), {"periodic": True}, 3 * 105, 0),
        ("cubic", (3, 3, 3), {"periodic": True, "diagonals": True}, 81, 162),
    ],
)
def test_bonds_have_the_expected_number_and_length(
    geometry: str, shape: tuple[int, ...], options: dict[str, Any], near: int, diagonal: int
) -> None:
    found, types = lengths(geometry, shape, spacing=1.7, **options)
    assert np.allclose(found[types == 0], 1.7)
    assert np.allclose(found[types == 1], 1.7 * np.sqrt(2))
    assert ((types == 0).sum(), (types == 1).sum()) == (near, diagonal)


@pytest.mark.parametrize("options", [{}, {"periodic": True}, {"diagonals": True, "periodic": True}])
def test_no_pair_is_bonded_twice(options: dict[str, bool]) -> None:
    bonds = bonded_geometry("cubic", (3, 4, 3), **options).bonds
    assert len(np.unique(np.sort(bonds, axis=1), axis=0)) == len(bonds)


def test_free_axes_of_a_periodic_lattice_do_not_repeat() -> None:
    lattice = bonded_geometry("square", (3, 4), dim=3, periodic=True)
    assert lattice.periodic == (True, True, False)
    assert lattice.edges is not None
    assert np.allclose(lattice.edges[:2], [3, 4])


@pytest.mark.parametrize(("cells", "nearest"), [((3, 3, 3), 12), ((5, 3), 6)])
def test_crystals_have_the_density_and_coordination_asked_for(cells: tuple[int, ...], nearest: int) -> None:
    q, edges = fcc(cells, 0.9)
    assert len(q) / edges.prod() == pytest.approx(0.9)
    vectors = q[:, None] - q[None]
    vectors -= edges * np.round(vectors / edges)
    r = np.sort(np.linalg.norm(vectors, axis=-1), axis=1)[:, 1:]
    assert np.allclose(r[:, :nearest], r[0, 0])
    assert (r[:, nearest] > 1.2 * r[0, 0]).all()


@pytest.mark.parametrize(
    ("geometry", "shape", "options", "message"),
    [
        ("chain", (3, 3), {}, "has 2 numbers, a chain needs 1"),
        ("square", (3,), {}, "write it like 3x3"),
        ("chain", (1,), {}, "has no bonds"),
        ("ring", (2,), {}, "at least 3"),
        ("ring", (5,), {"periodic": True}, "take a periodic chain"),
        ("ring", (5,), {"dim": 1}, "2 to 3 dimensions; dim is 1"),
        ("cubic", (2, 2, 2), {"dim": 2}, "3 to 3 dimensions"),
        ("chain", (5,), {"dim": 4}, "dim is 4"),
        ("chain", (5,), {"diagonals": True}, "no diagonals"),
        ("square", (2, 5), {"periodic": True}, "at least 3 sites along each axis"),
    ],
)
def test_impossible_geometries_are_refused(
    geometry: str, shape: tuple[int, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        bonded_geometry(geometry, shape, **options)
