"""What engines of particles that meet within cutoffs have in common: sorting, threads, and the loop between sortings.

Everything between two stored frames happens in compiled loops without Python, except sorting, which is due when some
particle has moved half the skin. The skin saves sorting and costs pairs that are too far to interact; ``SKIN`` is a
compromise measured on liquids.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np

from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph
from hamfit.graphs.channels import pair_channels
from hamfit.graphs.lattice import Lattice
from hamfit.graphs.skin import moved_limit2, widened
from hamfit.inference.compiled import AbstractCompiled, Kernel
from hamfit.inference.engine import (
    AbstractEngine,
    BlewUp,
    Observation,
    bounds,
    check_state,
    is_finite,
    name_coincident,
)
from hamfit.inference.placing import rows
from hamfit.inference.sorting import Columns, Sorter
from hamfit.integrators import Composition
from hamfit.integrators.protocol import check_step
from hamfit.kernels.bodies import Bodies, Reach
from hamfit.kernels.counting import count_outside
from hamfit.kernels.density import Densities, Pairs
from hamfit.kernels.lanes import OUT_ENERGY, OUT_WORDS
from hamfit.kernels.pair_forces import LawRows
from hamfit.kernels.stepping import Steps, Team, advance, observe
from hamfit.kernels.wrapping import wrap
from hamfit.types import FloatArray

Result = TypeVar("Result")

#: Skin over the greatest cutoff.
SKIN = 0.14


class AbstractColumnsEngine(AbstractEngine, Generic[Kernel]):
    """Particles in columns, p/m velocities, a composition that kicks first.

    compiled: its graph, of cutoffs, says who acts on whom, by density, pair function or both; rate: velocity over
    momentum of each particle, (N,).
    """

    def __init__(
        self,
        compiled: AbstractCompiled[Kernel],
        frame: Frame,
        rate: FloatArray,
        method: Composition,
        dt: float,
        threads: int,
    ) -> None:
        check_step(dt, 0)
        graph = compiled.graph
        assert isinstance(graph, CutoffGraph)
        self._compiled, self._graph, self._frame = compiled, graph, frame
        self.description = f"{compiled.what} within cutoffs: {compiled.forms}"
        self._channels = pair_channels(len(frame.labels))
        self._dim, self._n = frame.dim, frame.n_particles
        self._lattice = Lattice.of(frame)
        # copies, because arrays that are read-only would be compiled for once more
        self._species, self._rate = np.array(frame.species, dtype=np.int64), np.array(rate)
        skin = SKIN * graph.max_cutoff
        self._search = widened(graph.cutoffs, skin)
        self._far = bounds(self._lattice, graph.max_cutoff)
        self._dt = dt
        self._steps = Steps(method.kicks(dt), method.drifts(dt), moved_limit2(skin))
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None
        self._sorter = Sorter()

    @abstractmethod
    def _acting(self) -> tuple[LawRows | None, tuple[Densities, Pairs] | None]:
        """Laws, or functions with room for the pairs of particles as they are sorted now, for ``kernels.stepping``."""

    def begin(self, q: FloatArray, p: FloatArray) -> Observation:
        """See ``AbstractEngine.begin``."""
        check_state(q, p, self._frame.q.shape, self._far)
        # the graph's own checks: particles, species, and a box that is not absurdly small beside the cutoff
        prepared = self._graph.prepare(replace(self._frame, q=q))
        n = self._n
        position, momentum = rows(n), rows(n)
        position[: self._dim, :n], momentum[: self._dim, :n] = q.T, p.T
        self._ids, self._boxes = np.arange(n), np.zeros((n, 3))
        self._bodies = Bodies(position, momentum, rows(n), rows(n), self._rate.copy(), self._species.copy())
        self._sort()
        observation, coincident = self._observe()
        if coincident:
            name_coincident(prepared, n)
        return observation

    def advance(self, n_steps: int) -> None:
        """See ``AbstractEngine.advance``."""
        check_step(self._dt, n_steps)
        total = self._steps.drifts.size * n_steps
        stage, drifted = 0, False
        while stage < total:
            stage = self._advance(stage, total, drifted)
            if not is_finite(self._bodies.q, self._bodies.p, self._far):
                raise BlewUp(stage // self._steps.drifts.size)
            if stage < total:
                self._sort()
                drifted = True

    def _advance(self, stage: int, total: int, drifted: bool) -> int:
        counter, moved = np.zeros(1, dtype=np.int64), np.zeros(self._threads)

        def release() -> None:
            # those who have begun must not wait for those who never will
            moved[:] = np.inf
            counter[0] = np.iinfo(np.int64).max // 2

        # as they are now: a thread that comes late must not move what another call works on
        acting = self._bodies, self._reach, *self._model

        def task(thread: int) -> int:
            try:
                team = Team(thread, self._threads, counter, moved)
                return int(advance(team, *acting, self._steps, stage, total, drifted))
            except BaseException:
                release()
                raise

        return self._together(task, release)

    def _sort(self) -> None:
        """Wrap and sort the particles where they are now, and find their runs."""
        old, n = self._bodies, self._n
        q = np.ascontiguousarray(old.q[:, :n].T)
        x, s, low, high = wrap(q, self._lattice.vectors, self._lattice.inverse, self._lattice.periodic)
        boxes = self._boxes + np.rint((q - x) @ self._lattice.inverse)
        grid = Columns.of(self._lattice, low, high, n, self._search)
        s = np.ascontiguousarray(s[:, grid.axes])
        order, columns = grid.sort(s, old.species)
        old.q[:, :n] = x[order].T
        old.p[:, :n] = old.p[:, order]
        old.start[:] = old.q
        self._boxes, self._ids = boxes[order], self._ids[order]
        self._bodies = old._replace(rate=old.rate[order], species=old.species[order])
        self._reach: Reach = self._sorter.reach(grid, s[order], columns, self._share)
        self._model = self._acting()

    def _share(self, task: Callable[[int], None], n: int) -> None:
        if self._pool is None:
            for k in range(n):
                task(k)
            return
        left = iter(range(n))

        def some(thread: int) -> None:
            for k in left:
                task(k)

        self._together(some, lambda: deque(left, maxlen=0))

    def _together(self, task: Callable[[int], Result], release: Callable[[], object]) -> Result:
        """What ``task`` returns for thread 0, after all threads have ended theirs; ``release`` ends them early.

        However this thread ends, by an interrupt or for want of threads, none of the others is left working.
        """
        if self._pool is None:
            return task(0)
        others: list[Future[Result]] = []
        try:
            for thread in range(1, self._threads):
                others.append(self._pool.submit(task, thread))
            mine = task(0)
        except BaseException:
            release()
            raise
        finally:
            wait(others)
        for other in others:
            other.result()
        return mine

    def _observe(self) -> tuple[Observation, int]:
        """The sorted state observed, and the number of pairs at one place."""
        bodies, d, n = self._bodies, self._dim, self._n
        chunks = np.zeros((self._reach.chunks.size - 1, OUT_WORDS))
        observe(bodies, self._reach, *self._model, chunks)
        count = np.zeros(3, dtype=np.int64)
        for block in self._compiled.counted:
            # copies, because arrays that are read-only would be compiled for once more
            cutoff2, extents = block.cutoffs * block.cutoffs, np.array(block.extents)
            count_outside(bodies, self._reach, self._channels, cutoff2, extents, count)
        total = chunks.sum(axis=0)
        forces = np.empty((n, d))
        forces[self._ids] = bodies.force[:d, :n].T
        kinetic = 0.5 * float(np.sum(bodies.rate * np.sum(bodies.p[:, :n] ** 2, axis=0)))
        _, kept = self._model
        more = (0.0 if kept is None else float(kept[1].energy.sum())) + self._compiled.constant(self._frame)
        outside, near, coincident = count.tolist()
        return Observation.summed(total[OUT_ENERGY:], more, kinetic, forces, outside, near), coincident

    def state(self) -> tuple[FloatArray, FloatArray]:
        """See ``AbstractEngine.state``."""
        n, d = self._n, self._dim
        q, p = np.empty((n, d)), np.empty((n, d))
        q[self._ids] = (self._bodies.q[:, :n].T + self._boxes @ self._lattice.vectors)[:, :d]
        p[self._ids] = self._bodies.p[:d, :n].T
        return q, p

    def close(self) -> None:
        """See ``AbstractEngine.close``."""
        if self._pool is not None:
            self._pool.shutdown()
