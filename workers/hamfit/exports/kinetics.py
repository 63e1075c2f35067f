"""What a model says of masses: other programs move particles by p^2 / 2m and by nothing else.

The kinetic block learns T(p) from velocities. Where that is p^2 / 2m, dT/dp is p / m at every momentum, and the masses
are read off; where it is not, no program with a potential only can serve the model.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hamfit.errors import ModelError, SpecError
from hamfit.model import Model
from hamfit.types import FloatArray
from hamfit.velocity_ratios import velocity_ratios

#: Relative variation of (dT/dp) / p over the momenta seen in training up to which T counts as p^2 / 2m. Fits of clean
#: data vary by 1e-8 or less, particles at a fiftieth of the speed of light by 2e-4.
QUADRATIC_TOLERANCE = 1e-4


def checked_masses(model: Model, program: str) -> FloatArray | None:
    """The masses that the model learned, (S,), nan for a species never seen moving; None without a velocity part.

    Raises ModelError where the kinetic energy is not p^2 / 2m, which ``program`` needs it to be.
    """
    found = velocity_ratios(model)
    if found is None:
        return None
    for label, ratio, spread in zip(model.labels, found.ratio, found.spread, strict=True):
        if spread > QUADRATIC_TOLERANCE or ratio < 0.0:
            raise ModelError(
                f"the kinetic energy that the model learned for species {label} is not p^2/2m ((dT/dp)/p varies by"
                f" {spread:.1e}), and {program} knows no other: run the model with hamfit itself"
            )
    return 1.0 / found.ratio


def masses_for(model: Model, given: Mapping[str, float] | None, program: str) -> FloatArray:
    """Mass of each species, (S,), in the model's unit of mass.

    Those ``given`` by label, else those the model learned, else in `ase` units those of chemical elements. Raises
    ModelError as ``checked_masses`` and for a species whose mass nobody knows, SpecError for masses that are not
    positive, name an unknown species or contradict the model by more than 0.1 %.
    """
    learned = checked_masses(model, program)
    known = dict(given or {})
    unknown = sorted(set(known) - set(model.labels))
    if unknown:
        raise SpecError(f"masses name the species {', '.join(unknown)}: the model has {', '.join(model.labels)}")
    out = np.empty(len(model.labels))
    for s, label in enumerate(model.labels):
        mine = np.nan if learned is None else float(learned[s])
        if label in known:
            mass = float(known[label])
            if not 0.0 < mass < np.inf:
                raise SpecError(f"the mass of species {label} is {known[label]}: give a positive number")
            if abs(mass / mine - 1.0) > 1e-3:
                raise SpecError(
                    f"the mass of species {label} is {mass:g} where the model learned {mine:g}: leave it out"
                )
        else:
            mass = mine if np.isfinite(mine) else _element_mass(label, str(model.units.get("name")))
        if not np.isfinite(mass):
            raise ModelError(
                f"the model knows no mass of species {label}, because it was fitted without velocities: give masses"
                f" such as {label}=1.0"
            )
        out[s] = mass
    return out


def _element_mass(label: str, units: str) -> float:
    from ase.data import atomic_masses, atomic_numbers

    return float(atomic_masses[atomic_numbers[label]]) if units == "ase" and label in atomic_numbers else np.nan
