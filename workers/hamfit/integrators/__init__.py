"""Symplectic, symmetric integrators under one protocol.

`verlet`, `yoshida4`, `kahanli6` and `kahanli8` are explicit and need H = T(p) + V(q); `midpoint` is implicit and takes
any H(q, p). The trade between them is told in docs/explanation/integrators.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from hamfit.errors import SpecError, suggestion
from hamfit.integrators.compositions import (
    KAHAN_LI_6,
    KAHAN_LI_8,
    YOSHIDA_4,
    Composition,
    drift_kick_drift,
    drift_of_masses,
    kick_drift_kick,
)
from hamfit.integrators.midpoint import Midpoint, NotConverged
from hamfit.integrators.protocol import AbstractIntegrator, Hamiltonian

VERLET = Composition("verlet", 2, (1.0,))
"""Störmer-Verlet in kick-drift-kick form, also called velocity Verlet."""

INTEGRATORS: Mapping[str, AbstractIntegrator] = MappingProxyType(
    {
        method.name: method
        for method in (
            VERLET,
            Composition("yoshida4", 4, YOSHIDA_4),
            Composition("kahanli6", 6, KAHAN_LI_6),
            Composition("kahanli8", 8, KAHAN_LI_8),
            Midpoint(),
        )
    }
)
"""Every integrator by its name."""


def integrator(name: str) -> AbstractIntegrator:
    """The integrator of that name; SpecError, with the closest name there is, when it is unknown."""
    found = INTEGRATORS.get(name.strip().lower())
    if found is None:
        raise SpecError(f"integrator '{name}' is unknown: {suggestion(name.strip().lower(), INTEGRATORS)}")
    return found


__all__ = [
    "INTEGRATORS",
    "KAHAN_LI_6",
    "KAHAN_LI_8",
    "VERLET",
    "YOSHIDA_4",
    "AbstractIntegrator",
    "Composition",
    "Hamiltonian",
    "Midpoint",
    "NotConverged",
    "drift_kick_drift",
    "drift_of_masses",
    "integrator",
    "kick_drift_kick",
]
