"""The interface of a block: a family of random features, pooled over particles or pairs of particles.

The learned Hamiltonian is ``H(q, p) = c + sum_k theta_k Phi_k(q, p)``. A block supplies some of the Phi_k. Its
hidden weights are sampled once and never trained; only theta is solved for. Two families of rows exist, and no block
contributes to both: ``force`` rows hold dPhi/dq (target -pdot), ``velocity`` rows hold dPhi/dp (target qdot). So the
least-squares problem splits into two independent ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np

from hamfit.frames import Frame
from hamfit.types import FloatArray, IntArray

Part = Literal["force", "velocity"]


class AbstractBlock(ABC):
    """Pooled random features Phi_k, k = 0 .. n_columns - 1, with exact derivatives."""

    kind: ClassVar[str]
    part: ClassVar[Part]

    @property
    @abstractmethod
    def n_columns(self) -> int:
        """Number of features, one column of Z each."""

    @abstractmethod
    def rows(self, frame: Frame, centres: IntArray) -> FloatArray:
        """Derivatives of all features with respect to q_i (or p_i) of the centres, (len(centres) * d, n_columns).

        Rows are particle-major with the axis fastest.
        """

    @abstractmethod
    def features(self, frame: Frame) -> FloatArray:
        """The pooled features Phi_k of the whole frame, (n_columns,)."""

    @abstractmethod
    def energy_and_gradient(
        self, frame: Frame, theta: FloatArray, virial: FloatArray | None = None
    ) -> tuple[float, FloatArray]:
        """``E = sum_k theta_k Phi_k`` of the frame and dE/dq (or /dp), (N, d), without forming Z.

        Where ``virial`` (d, d) is given, W is added to it: W_ab = -dE/d(eps_ab) when positions and box are strained
        as q_b -> q_b + sum_a q_a eps_ab. A pair contributes v_a F_b, with v and F the vector and the force of one of
        its ends seen from the other; repulsion is positive. ModelError for a block that has no virial.
        """

    def gradient(self, frame: Frame, theta: FloatArray) -> FloatArray:
        """``sum_k theta_k dPhi_k/dq`` (or /dp) of all particles, (N, d)."""
        return self.energy_and_gradient(frame, theta)[1]

    def energy(self, frame: Frame, theta: FloatArray) -> float:
        """``sum_k theta_k Phi_k`` of the whole frame."""
        return self.energy_and_gradient(frame, theta)[0]

    @abstractmethod
    def to_store(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON-able attributes and named arrays from which ``from_store`` rebuilds the block bit for bit."""

    @classmethod
    @abstractmethod
    def from_store(cls, attrs: dict[str, Any], arrays: dict[str, np.ndarray]) -> AbstractBlock:
        """The block that ``to_store`` described."""

    def order(self, frame: Frame) -> IntArray:
        """All particles in the order in which panels of neighbouring particles share most memory."""
        return np.arange(frame.n_particles, dtype=np.int64)
