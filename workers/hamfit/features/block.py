"""The interface of a block: a family of random features, pooled over particles or pairs of particles.

The learned Hamiltonian is ``H(q, p) = c + sum_k theta_k Phi_k(q, p)``. A block supplies some of the Phi_k. Its
hidden weights are sampled once and never trained; only theta is solved for. Two families of rows exist, and no block
contributes to both: ``force`` rows hold dPhi/dq (target -pdot), ``velocity`` rows hold dPhi/dp (target qdot). So the
least-squares problem splits into two independent ones.

A frame is prepared once, and a block says what it can: whoever uses blocks asks these members and no type. A block of
another package is one that implements them and is registered (``features.registry``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np

from hamfit.errors import DataError, ModelError
from hamfit.features.source import Source
from hamfit.frames import Frame
from hamfit.graphs import AbstractGraph, AbstractGraphs
from hamfit.kernels.cpu import widen_extent
from hamfit.types import FloatArray, IntArray

if TYPE_CHECKING:
    from hamfit.devices import AbstractDevice
    from hamfit.features.device_block import AbstractDeviceBlock
    from hamfit.features.functions import DensityFunctions, PairFunctions
    from hamfit.features.radial import RadialFeatures
    from hamfit.features.survey import Sampling
    from hamfit.features.tables import RadialTable
    from hamfit.options import FitSpec

Part = Literal["force", "velocity"]
PARTS: tuple[Part, ...] = ("velocity", "force")

Evaluator: TypeAlias = Callable[[Source, FloatArray | None], tuple[float, FloatArray]]
"""Source and virial to add to (or None) to energy and gradient (N, d), with the coefficients built in."""


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """The rows of some particles, of which each block writes its local columns."""

    centres: IntArray
    """The particles, (C,)."""
    rows: Any
    """Their rows, (C * d, width), C order: on the processor, or on the device of the block that writes."""
    on_device: Any = None
    """``centres`` on the device."""


@dataclass(frozen=True, slots=True, eq=False)
class Outside:
    """Edges that a table does not cover: what they add to their rows is computed feature by feature."""

    row: IntArray
    """Row of the first axis of their centres in the panel, (E,)."""
    channel: IntArray
    """(E,)."""
    distance: FloatArray
    """(E,)."""
    vector: FloatArray
    """(E, 3)."""


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """A block sampled from a first look at the data, and what was seen on the way."""

    block: AbstractBlock
    """The block."""
    extent: FloatArray | None = None
    """Shortest and longest edge of every channel, (C, 2), for blocks that can be tabulated; None for others."""
    choices: dict[str, Any] | None = None
    """How the features were chosen, for the report; None where there was nothing to choose."""


@dataclass(frozen=True, slots=True, eq=False)
class _FeatureByFeature:
    """The evaluator of a block that knows no faster way."""

    block: AbstractBlock
    theta: FloatArray

    def __call__(self, source: Source, virial: FloatArray | None) -> tuple[float, FloatArray]:
        return self.block.energy_and_gradient(source, self.theta, virial)


class AbstractBlock(ABC):
    """Pooled random features Phi_k, k = 0 .. n_columns - 1, with exact derivatives."""

    kind: ClassVar[str]
    """Name of the family: on the command line, in reports and in stores."""
    part: ClassVar[Part]
    """Which rows it contributes to."""
    graph: AbstractGraph | None = None
    """Which particles it joins; None for a block that joins none."""

    form: str = "has functions of a kind of its own"
    """What it is, for sentences that begin with its name."""
    has_virial: ClassVar[bool] = True
    """Whether ``energy_and_gradient`` can give a virial."""
    has_virial_rows: ClassVar[bool] = False
    """Whether ``virials`` gives that of each feature, so that stresses may be rows of a fit."""
    is_separable: ClassVar[bool] = True
    """Whether it depends on positions alone or on momenta alone, as explicit integrators need."""
    conserves_momentum: ClassVar[bool] = True
    """Whether the total momentum is constant: whether nothing depends on absolute positions."""
    needs_open_space: ClassVar[bool] = False
    """Whether it has no meaning in a periodic box."""
    needs_like_masses: ClassVar[bool] = False
    """Whether all particles of one species must have one mass."""
    needs_graph: ClassVar[Literal["no", "any", "cutoff"]] = "no"
    """Whether a fit must find it a graph: any, or one of cutoffs."""
    needs_energies: ClassVar[bool] = False
    """Whether energies are rows by default, because forces that vanish by symmetry leave it undetermined."""
    is_smooth: ClassVar[bool] = False
    """Whether it ends smoothly at the cutoff whatever the data do, so that blocks beside it should too."""
    is_tabulated: ClassVar[bool] = False
    """Whether ``tabulate`` makes its columns functions of one distance, which are few once whitened."""

    @property
    @abstractmethod
    def n_columns(self) -> int:
        """Number of features, one column of Z each."""

    def prepare(self, frame: Frame, graphs: AbstractGraphs | None = None) -> Source:
        """The frame made ready, its graph taken from ``graphs`` where others have prepared it; with the graph's errors.

        DataError for a frame that the block refuses.
        """
        self.check(frame)
        if self.graph is None:
            return Source(frame)
        return Source(frame, self.graph.prepare(frame) if graphs is None else graphs.prepare(self.graph, frame))

    @classmethod
    def check(cls, frame: Frame) -> None:
        """DataError for a frame in which the block has no meaning."""
        if cls.needs_open_space and any(frame.periodic):
            raise DataError(
                f"the {cls.kind} block needs absolute positions, which a periodic box does not have: leave it out"
            )

    @abstractmethod
    def rows(self, source: Source, centres: IntArray) -> FloatArray:
        """Derivatives of all features with respect to q_i (or p_i) of the centres, (len(centres) * d, n_columns).

        Rows are particle-major with the axis fastest.
        """

    @abstractmethod
    def features(self, source: Source) -> FloatArray:
        """The pooled features Phi_k of the whole frame, (n_columns,)."""

    def virials(self, source: Source) -> FloatArray:
        """The virial of each pooled feature, (n_columns, d, d), as ``energy_and_gradient`` has it for their sum.

        ModelError for a block without ``has_virial_rows``.
        """
        raise ModelError(f"the {self.kind} block does not know the virials of its features: ask for their sum alone")

    @abstractmethod
    def energy_and_gradient(
        self, source: Source, theta: FloatArray, virial: FloatArray | None = None
    ) -> tuple[float, FloatArray]:
        """``E = sum_k theta_k Phi_k`` of the frame and dE/dq (or /dp), (N, d), without forming Z.

        Where ``virial`` (d, d) is given, W is added to it: W_ab = -dE/d(eps_ab) when positions and box are strained
        as q_b -> q_b + sum_a q_a eps_ab. A pair contributes v_a F_b, with v and F the vector and the force of one of
        its ends seen from the other; repulsion is positive. ModelError for a block without ``has_virial``.
        Asks for the edges of each particle once, so that ``source.range`` counts each edge once.
        """

    def compiled(self, theta: FloatArray, extent: FloatArray | None) -> Evaluator:
        """``energy_and_gradient`` with the coefficients built in, as fast as they allow.

        extent (C, 2): shortest and longest edge seen in training; None where it is not known.
        """
        return _FeatureByFeature(self, theta)

    def extent(self, seen: FloatArray | None) -> FloatArray | None:
        """Shortest and longest edge of training, (C, 2), beyond which the block extrapolates; None for no edges.

        seen (C, 2): those met while rows were streamed, where a block has them counted (``n_extents``).
        """
        return seen

    @property
    def n_extents(self) -> int:
        """Channels whose shortest and longest edges are noted while rows are streamed; 0 for none.

        By default all of a block that gives functions of the distance, or of |p|: who compiles them must know where
        training ended.
        """
        gives = self.pair_functions is not None or self.momentum_functions is not None
        return len(self.graph.channel_labels) if gives and self.graph is not None else 0

    # what engines and programs that run models may find in a block

    @property
    def pair_functions(self) -> PairFunctions | None:
        """The functions of the distance that it is, along the edges of its graph; None where it is anything else."""
        return None

    @property
    def density_functions(self) -> DensityFunctions | None:
        """The embedded-atom model of one density that it is; None where it is anything else."""
        return None

    @property
    def momentum_functions(self) -> RadialFeatures | None:
        """The functions of |p| that it is, a channel for each species; None where it is anything else."""
        return None

    # what a fit wants of it

    @classmethod
    @abstractmethod
    def sampled(cls, sampling: Sampling) -> Sampled:
        """A block with hidden weights drawn from a first look at the data; FeatureError where that cannot be done."""

    @classmethod
    @abstractmethod
    def expected_columns(cls, options: FitSpec, n_species: int, n_channels: int, dim: int) -> int:
        """``n_columns`` of the block that ``sampled`` would give; n_channels are those of the graph."""

    def tabulate(self, extent: FloatArray, projection: FloatArray, preliminary: FloatArray) -> RadialTable | None:
        """Whitened columns as functions of the distance, on the extent (C, 2) seen; None where they are none.

        projection (n_columns, k); preliminary (k,) a first solution, which tells how fine is fine enough.
        """
        return None

    def fill(
        self, source: Source, panel: Panel, column: int, seen: FloatArray, table: RadialTable | None = None
    ) -> Outside | None:
        """Write the local columns of the panel's centres, from ``column`` on.

        Local columns are those of the table where the block has one, else its features. Widens ``seen`` (n_extents, 2)
        to the edges met. Returns the edges outside the table.
        """
        panel.rows[:, column : column + self.n_columns] = self.rows(source, panel.centres)
        if len(seen):
            edges = source.edges(panel.centres)
            widen_extent(edges.distance, edges.channel, seen)
        return None

    def beyond_table(self, outside: Outside, projection: FloatArray) -> FloatArray:
        """What edges outside its table add to the whitened rows of their centres, (E, 3, k)."""
        raise ModelError(f"the {self.kind} block has no table that edges could be outside of")

    def on_device(self, device: AbstractDevice, table: RadialTable | None = None) -> AbstractDeviceBlock:
        """The block made ready for a device, with its table where it has one; by default rows come from the processor.

        Raises DeviceMemoryFull where there is no room for what it keeps there.
        """
        from hamfit.features.device_block import HostedBlock

        return HostedBlock(device, self, table)

    @classmethod
    def warm_up(cls, frame: Frame) -> None:
        """Run every kernel of the block once, on a small frame with momenta and bonds."""
        del frame

    @abstractmethod
    def to_store(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON-able attributes and named arrays from which ``from_store`` rebuilds the block bit for bit."""

    @classmethod
    @abstractmethod
    def from_store(cls, attrs: dict[str, Any], arrays: dict[str, np.ndarray]) -> AbstractBlock:
        """The block that ``to_store`` described."""


def targets_of(frame: Frame, part: Part) -> FloatArray:
    """dH/dq = -pdot or dH/dp = qdot of every particle, (N, d); DataError where the frame lacks them."""
    if part == "force":
        if frame.pdot is None:
            raise DataError("a frame has no forces: give them, or let ingest estimate them from a time series")
        return -frame.pdot
    if frame.qdot is None or frame.p is None:
        raise DataError("a frame has no velocities, which blocks of momenta need: give them, or leave such blocks out")
    return frame.qdot
