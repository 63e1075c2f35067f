"""What engines on a device have in common: particles that stay there between stored frames, lists, and the loop.

Everything between two stored frames happens on the device. Stages are launched in batches, and the host looks once a
batch at one word that says whether a particle has left the skin meanwhile (``kernels.gpu_stepping``). If so, the stages
after that did nothing: particles are sorted and lists built anew, on the device too, and the run goes on at the stage
that halted. So neither the length of a batch nor the look decides anything about the numbers.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Generic

import numpy as np

from hamfit.devices import AbstractDevice, DeviceArray, DeviceMemoryFull
from hamfit.errors import DeviceError, GraphError
from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph
from hamfit.graphs.channels import pair_channels
from hamfit.graphs.device_lists import DeviceLists, build_lists
from hamfit.graphs.lattice import Lattice
from hamfit.graphs.skin import moved_limit2
from hamfit.inference.columns_engine import SKIN
from hamfit.inference.compiled import AbstractCompiled, Kernel
from hamfit.inference.engine import AbstractEngine, BlewUp, Observation, bounds, check_state, name_coincident
from hamfit.integrators import Composition
from hamfit.integrators.protocol import check_step
from hamfit.kernels.gpu_stepping import (
    NEVER,
    DeviceBodies,
    count_pairs,
    is_lost,
    kick_and_drift,
    last_kick,
    on_device,
)
from hamfit.types import FloatArray

#: Stages of a batch: between two looks at the halt, and in one recording. Long enough that the look costs little, and
#: no longer than particles of a liquid mostly stay within the skin. An estimate, not yet measured.
_BATCH_STAGES = 12


class AbstractDeviceEngine(AbstractEngine, Generic[Kernel]):
    """Particles on a device, p/m velocities, a composition that kicks first.

    compiled: its graph, of cutoffs, says who acts on whom, by density, pair function or both; rate: velocity over
    momentum of each particle, (N,). Raises DeviceError where the device has no room for the particles.
    """

    def __init__(
        self,
        device: AbstractDevice,
        compiled: AbstractCompiled[Kernel],
        frame: Frame,
        rate: FloatArray,
        method: Composition,
        dt: float,
    ) -> None:
        check_step(dt, 0)
        graph = compiled.graph
        assert isinstance(graph, CutoffGraph)
        self._device, self._compiled, self._graph, self._frame = device, compiled, graph, frame
        self.device = device.name
        self.description = f"{compiled.what} within cutoffs, on {device.name}: {compiled.forms}"
        self._n = frame.n_particles
        self._lattice = Lattice.of(frame)
        self._skin = SKIN * graph.max_cutoff
        self._limit2 = moved_limit2(self._skin)
        self._far = bounds(self._lattice, graph.max_cutoff)
        self._dt = dt
        self._kicks: list[float] = method.kicks(dt).tolist()
        self._drifts: list[float] = method.drifts(dt).tolist()
        # whole steps, so that every batch but the first of a call kicks alike
        self._batch = len(self._drifts) * max(1, _BATCH_STAGES // len(self._drifts))
        self._known = False
        self._lists: DeviceLists | None = None
        self._replay: Callable[[], None] | None = None
        self._rates = np.array(rate, dtype=np.float64)
        with self._working():
            xp, n, up = device.xp, self._n, device.upload
            self._kernel: Kernel = on_device(device, compiled.kernel)
            self._channels = up(pair_channels(len(frame.labels)))
            self._counted = [(up(b.cutoffs * b.cutoffs), up(np.array(b.extents))) for b in compiled.counted]
            self._bodies = DeviceBodies(
                atoms=xp.zeros((n, 4)),
                momentum=xp.zeros((3, n)),
                force=xp.zeros((3, n)),
                start=xp.zeros((3, n)),
                rate=xp.zeros(n),
                halt=xp.full(1, NEVER, dtype=np.int32),
            )

    @abstractmethod
    def _forces(self, stage: int) -> None:
        """Launch the kernels that put forces into the bodies, unless the batch halted at ``stage`` or before."""

    @abstractmethod
    def _observed(self) -> tuple[FloatArray, float]:
        """Forces into the bodies; energy and virial as ``kernels.gpu_stepping`` observes them, and energy beside it."""

    @property
    def _built(self) -> DeviceLists:
        """The lists of the state at hand."""
        assert self._lists is not None
        return self._lists

    def begin(self, q: FloatArray, p: FloatArray) -> Observation:
        """See ``AbstractEngine.begin``."""
        check_state(q, p, self._frame.q.shape, self._far)
        frame = replace(self._frame, q=q)
        if not self._known:
            # the graph's own checks of particles, species and box, which stay what they are
            self._graph.prepare(frame)
            self._known = True
        with self._working(), np.errstate(over="ignore", invalid="ignore"):
            self._load(q, p)
            self._sort()
            sums, more = self._observed()
            counts = [
                count_pairs(self._device, self._bodies, self._built, self._channels, *block) for block in self._counted
            ]
            outside, pairs, coincident = (sum(block[k] for block in counts) for k in range(3))
            forces = self._of_particles(self._bodies.force)
            kinetic = 0.5 * float(np.sum(self._rates * np.sum(p**2, axis=1)))
        if coincident:
            name_coincident(self._graph.prepare(frame), self._n)
        more += self._compiled.constant(self._frame)
        return Observation.summed(sums, more, kinetic, forces, outside, pairs)

    def _load(self, q: FloatArray, p: FloatArray) -> None:
        """Put a state on the device, in the order of the frame."""
        n, d, up = self._n, self._frame.dim, self._device.upload
        atoms, momentum = np.zeros((n, 4)), np.zeros((3, n))
        atoms[:, :d], atoms[:, 3], momentum[:d] = q, self._frame.species, p.T
        bodies = self._bodies
        bodies.atoms[...], bodies.momentum[...], bodies.rate[...] = up(atoms), up(momentum), up(self._rates)
        self._ids = self._device.xp.arange(n)
        self._boxes = self._device.xp.zeros((3, n))

    def advance(self, n_steps: int) -> None:
        """See ``AbstractEngine.advance``."""
        check_step(self._dt, n_steps)
        total = len(self._drifts) * n_steps
        stage = 0
        while stage < total:
            # others have their turn between batches
            with self._working():
                stage = self._run_batch(stage, total)
        if n_steps > 0:
            with self._working():
                last_kick(self._device, self._bodies, self._kicks[-1])
                if is_lost(self._device, self._bodies, self._far):
                    raise BlewUp(n_steps)

    def _run_batch(self, stage: int, total: int) -> int:
        """Make stages from ``stage`` on, at most to ``total``; how many of all are made then."""
        per_step = len(self._drifts)
        into = stage % per_step
        last = min(total, stage - into + self._batch)
        if stage > 0 and last - stage == self._batch:
            self._repeat()
        else:
            self._launch(stage, last)
        halted = int(self._device.download(self._bodies.halt)[0])
        if halted == NEVER:
            return last
        stage += halted
        if is_lost(self._device, self._bodies, self._far):
            raise BlewUp(stage // per_step)
        try:
            self._sort()
        except GraphError:
            # an open system that fell together: everybody is everybody's neighbour
            raise BlewUp(stage // per_step) from None
        self._forces(0)
        return stage + 1

    def _launch(self, first: int, last: int) -> None:
        """Launch stages ``first`` .. last - 1; the halt counts from ``first``."""
        per_step = len(self._drifts)
        for stage in range(first, last):
            k = stage % per_step
            # the last kick of one step and the first of the next are one
            kick = self._kicks[k] + (self._kicks[-1] if k == 0 and stage > 0 else 0.0)
            kick_and_drift(self._device, self._bodies, kick, self._drifts[k], self._limit2, stage - first)
            self._forces(stage - first)

    def _repeat(self) -> None:
        """A whole batch that is not the first of a call: always the same launches, as long as the lists are."""
        if self._replay is None:
            per_step, batch = len(self._drifts), self._batch
            self._replay = self._device.record(lambda: self._launch(per_step, per_step + batch))
        self._replay()

    def _sort(self) -> None:
        """Wrap and sort the particles where they are now, and build their lists."""
        bodies, xp, lattice = self._bodies, self._device.xp, self._lattice
        q = xp.ascontiguousarray(bodies.atoms[:, :3].T)
        species = bodies.atoms[:, 3].astype(np.int32)
        lists = build_lists(self._device, q, species, lattice, self._graph.cutoffs, self._skin, self._lists)
        if lists is not self._lists:
            # what was recorded knows the arrays of the earlier lists
            self._lists, self._replay = lists, None
        order, x = lists.order, lists.x
        d, inverse, boxes = q[:, order] - x, lattice.inverse.tolist(), self._boxes[:, order]
        for k in range(3):
            boxes[k] += xp.rint(d[0] * inverse[0][k] + d[1] * inverse[1][k] + d[2] * inverse[2][k])
        self._boxes, self._ids = boxes, self._ids[order]
        bodies.atoms[:, 3] = bodies.atoms[order, 3]
        bodies.atoms[:, :3] = x.T
        bodies.start[...] = x
        bodies.momentum[...] = bodies.momentum[:, order]
        bodies.rate[...] = bodies.rate[order]
        bodies.halt.fill(NEVER)

    def _of_particles(self, rows: DeviceArray) -> FloatArray:
        """Rows (3, N) of sorted particles as (N, d) on the host, in the order of the frame."""
        out = self._device.xp.empty((self._n, 3))
        out[self._ids] = rows.T
        return np.ascontiguousarray(self._device.download(out)[:, : self._frame.dim])

    def state(self) -> tuple[FloatArray, FloatArray]:
        """See ``AbstractEngine.state``."""
        with self._working():
            q, vectors = self._bodies.atoms[:, :3].T, self._lattice.vectors.tolist()
            whole = [q[a] + sum(self._boxes[k] * vectors[k][a] for k in range(3)) for a in range(3)]
            return self._of_particles(self._device.xp.stack(whole)), self._of_particles(self._bodies.momentum)

    def close(self) -> None:
        """See ``AbstractEngine.close``: the device has the memory of the lists back, the rest goes with the engine."""
        self._lists = self._replay = None

    @contextmanager
    def _working(self) -> Iterator[None]:
        """The device's turn; DeviceError where its memory is full."""
        with self._device.turn:
            try:
                with self._device.guarded():
                    yield
            except DeviceMemoryFull as error:
                raise DeviceError(
                    f"{self._device.name} has no room for {self._n} particles and their neighbours ({error}): run fewer"
                    " rollouts side by side, or use the device cpu"
                ) from None
