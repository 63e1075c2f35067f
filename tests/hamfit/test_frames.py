from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hamfit.errors import DataError, ModelError
from hamfit.frames import Frame
from worlds import CASES

FRAME = CASES[1].frame()


def test_an_open_frame_is_periodic_nowhere() -> None:
    frame = Frame(q=np.zeros((3, 2)), species=np.zeros(3, dtype=np.int64), labels=("A",), masses=np.ones(3))
    assert frame.periodic == (False, False)
    assert (frame.n_particles, frame.dim) == (3, 2)


@pytest.mark.parametrize("name", ["species", "masses", "p", "qdot", "pdot"])
def test_an_array_of_another_length_is_refused_by_name(name: str) -> None:
    value = getattr(FRAME, name)
    with pytest.raises(DataError, match=f"{name} has shape .* to match q"):
        replace(FRAME, **{name: value[:-1]})


@pytest.mark.parametrize("shape", [(5,), (5, 4), (5, 0)])
def test_positions_in_other_than_one_to_three_dimensions_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"1\.\.3 dimensions"):
        Frame(q=np.zeros(shape), species=np.zeros(5, dtype=np.int64), labels=("A",), masses=np.ones(5))


def test_a_periodic_frame_needs_a_box_and_a_flag_for_every_direction() -> None:
    with pytest.raises(DataError, match="has no box"):
        replace(FRAME, periodic=(True, False))
    with pytest.raises(DataError, match="3 entries for 2 dimensions"):
        replace(FRAME, periodic=(False, False, False))
    with pytest.raises(DataError, match="box has shape"):
        replace(FRAME, periodic=(True, True), box=np.eye(3))


def test_relabelling_keeps_every_particles_own_species() -> None:
    other = FRAME.relabel(("C", "B", "A"))
    assert [other.labels[s] for s in other.species] == [FRAME.labels[s] for s in FRAME.species]
    assert FRAME.relabel(FRAME.labels) is FRAME


def test_relabelling_bonds_keeps_every_bonds_own_type() -> None:
    bonded = replace(FRAME, bonds=np.array([[0, 1], [1, 2]]), bond_types=np.array([1, 0]), bond_labels=("soft", "hard"))
    other = bonded.relabel(FRAME.labels, ("hard", "rigid", "soft"))
    assert other.bond_types is not None
    assert [other.bond_labels[t] for t in other.bond_types] == ["hard", "soft"]
    with pytest.raises(ModelError, match=r"bond type hard is unknown here \(known: soft\)"):
        bonded.relabel(FRAME.labels, ("soft",))


def test_an_unknown_species_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ModelError, match=r"species B is unknown here \(known: A, C\)"):
        FRAME.relabel(("A", "C"))


def test_a_label_that_no_particle_has_may_be_missing() -> None:
    alone = replace(FRAME, species=np.zeros_like(FRAME.species))
    assert alone.relabel(("A",)).labels == ("A",)
