"""What every engine offers: a fixed set of particles under a fitted model, moved from frame to frame.

An engine is begun at a state and advanced by whole numbers of steps. Beginning makes everything anew from (q, p) alone:
cells, lists and forces. So a rollout that begins its engine at every frame it stores can be continued from that frame
to the same bits, and a checkpoint is nothing but (q, p).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hamfit.errors import DataError, GraphError, HamfitError
from hamfit.graphs import Prepared
from hamfit.graphs.lattice import Lattice
from hamfit.kernels.lanes import VIRIAL_AXES
from hamfit.types import FloatArray

#: Lengths of the box or of interactions within which particles stay: beyond, less than four digits are left of their
#: place among their neighbours, and searches for images would never end. Arbitrary.
_FAR = 1e12
#: Particles whose edges are asked for together: there may be edges to all others.
_PANEL = 64


class BlewUp(HamfitError):
    """A state is no longer finite, or flung beyond all bounds."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the state is no longer finite after step {step}: take a smaller dt or a gentler start")
        self.step = step
        """Whole steps of the failed call that had been made: 0 .. n_steps."""

    def __reduce__(self) -> tuple[type[BlewUp], tuple[int]]:
        # an exception is otherwise rebuilt from its message, which is no step
        return BlewUp, (self.step,)


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What is known of a state beside its coordinates."""

    potential_energy: float
    """V(q), constants of the model included where they are known."""
    kinetic_energy: float
    """T(p)."""
    forces: FloatArray
    """-dV/dq, (N, d)."""
    virial: FloatArray | None
    """sum over pairs of d (x) f, minus the derivative of V by the strain, (d, d); None where it has no meaning."""
    outside: int
    """Pairs of every block outside the range of distances seen in training, counted as ``Model.extrapolated`` does."""
    pairs: int
    """Pairs of every block that interact."""

    @classmethod
    def summed(
        cls, sums: FloatArray, more: float, kinetic_energy: float, forces: FloatArray, outside: int, pairs: int
    ) -> Observation:
        """From what kernels sum up: energy, to which ``more`` is added, then the virial along ``VIRIAL_AXES``, (7,)."""
        virial, d = np.zeros((3, 3)), forces.shape[1]
        for word, (a, b) in enumerate(VIRIAL_AXES, 1):
            virial[a, b] = virial[b, a] = sums[word]
        return cls(float(sums[0]) + more, kinetic_energy, forces, virial[:d, :d], outside, pairs)

    @property
    def energy(self) -> float:
        """H(q, p)."""
        return self.potential_energy + self.kinetic_energy


class AbstractEngine(ABC):
    """Moves N particles; not to be shared between threads."""

    description: str
    """How forces are computed, in words."""
    device: str = "cpu"
    """Name of the device that computes them: other devices round otherwise, so bits depend on it."""
    is_compiled: ClassVar[bool] = True
    """Whether steps are compiled, from compiled functions; others take a hundred times as long."""
    particle_bytes: ClassVar[int] = 1100
    """Memory that is kept for each particle: state, windows of forces, runs."""
    pair_bytes: ClassVar[int] = 0
    """Memory that is kept for each pair there is, with room for more pairs than at the start."""

    @abstractmethod
    def begin(self, q: FloatArray, p: FloatArray) -> Observation:
        """Start from unwrapped positions and momenta, (N, d) each.

        Raises DataError for numbers that are not finite or of another shape, GraphError or ModelError when the state
        does not fit the model (two particles at one place, or so far out that their distances are lost).
        """

    @abstractmethod
    def advance(self, n_steps: int) -> None:
        """Make whole steps, 0 or more; raises BlewUp when the state is no longer finite, and is to be begun anew."""

    @abstractmethod
    def state(self) -> tuple[FloatArray, FloatArray]:
        """Unwrapped positions and momenta, (N, d) each, as new arrays in the order of ``begin``."""

    def close(self) -> None:  # noqa: B027 - most engines have no threads to let go of
        """Let go of threads; the engine is not used afterwards."""


def is_finite(q: FloatArray, p: FloatArray, far: float = np.inf) -> bool:
    """Whether a state can go on: all finite, no coordinate farther out than ``far``."""
    return bool(np.isfinite(q).all() and np.isfinite(p).all() and np.abs(q).max(initial=0.0) <= far)


def bounds(lattice: Lattice, *lengths: float) -> float:
    """The greatest coordinate at which particles can be told apart; inf without a length to compare with.

    Lengths are the box's and those given, such as cutoffs, or the longest distance seen in training.
    """
    length = max(0.0, *lengths, float(np.abs(lattice.vectors[lattice.periodic == 1]).max(initial=0.0)))
    return _FAR * length if length > 0.0 else np.inf


def name_coincident(prepared: Prepared, n: int) -> None:
    """GraphError that names the two of n particles that are at one place, where the graph finds two."""
    for start in range(0, n, _PANEL):
        prepared.edges(np.arange(start, min(start + _PANEL, n)))


def check_state(q: FloatArray, p: FloatArray, shape: tuple[int, int], far: float) -> None:
    """DataError or GraphError for a state that no engine can begin from."""
    if q.shape != shape or p.shape != shape:
        raise DataError(f"a state to begin from has shapes {q.shape} and {p.shape}: give q and p of shape {shape} both")
    if not is_finite(q, p):
        raise DataError("a state to begin from has numbers that are not finite: give another one")
    if not is_finite(q, p, far):
        raise GraphError(f"a particle is farther than {far:g} from the origin, where distances are lost: move it back")
