"""Built-in Hamiltonian systems with known potentials, and their reference trajectories.

`simulate` writes a dataset; `system(name).run(spec)` gives the same trajectories in memory. Potentials stand
by themselves, so that a learned model can be compared with the truth anywhere.
"""

from __future__ import annotations

from hamfit.systems.catalogue import SYSTEMS, System, system
from hamfit.systems.options import Option
from hamfit.systems.recording import simulate
from hamfit.systems.simulation import Simulation

__all__ = [
    "SYSTEMS",
    "Option",
    "Simulation",
    "System",
    "simulate",
    "system",
]
