"""One rollout from its start, or its checkpoint, to its end: runs on a thread of the driver or on a Dask worker.

The state is made anew at every stored frame and at every `segment` steps (`RolloutPlan.next_stop`), so what was
computed before a stop is of no consequence after it, and a rollout that was killed goes on to the same bits on the same
device. On another one it goes on as well, to other bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from hamfit.data.trajectory_writer import TrajectoryWriter
from hamfit.devices import AbstractDevice, DeviceChoice, device_for
from hamfit.errors import DataError, GraphError, ModelError, StoreError, located
from hamfit.frames import Frame
from hamfit.inference import BlewUp, CompiledModel, Observation
from hamfit.inference.engine import AbstractEngine
from hamfit.integrators import NotConverged, integrator
from hamfit.processes import peak_bytes
from hamfit.rollouts.endings import finished_rollout, not_begun, origin_of
from hamfit.rollouts.plan import RolloutPlan, stores_momenta
from hamfit.rollouts.starts import InitialState
from hamfit.rollouts.tally import Tally
from hamfit.rollouts.trying import NO_START, observed
from hamfit.rollouts.workspace import Workspace

#: From so many particles on ``auto`` takes a GPU: a step takes some 50 us there however few they are, and some 0.1 us
#: for each particle on one core. An estimate, not yet measured.
WORTHWHILE_PARTICLES = 4000
#: Seconds between two words about progress.
_TELLING_SECONDS = 0.5
_NOT_FINITE = "its numbers are no longer finite"


def device_of(particles: int, choice: DeviceChoice) -> AbstractDevice | None:
    """The device of this process for a rollout of so many particles; None for the processor."""
    return device_for(particles, choice, WORTHWHILE_PARTICLES)


class _Rollout:
    """One rollout under way."""

    def __init__(
        self, plan: RolloutPlan, compiled: CompiledModel, workspace: Workspace, state: InitialState, threads: int
    ) -> None:
        self.plan, self.workspace, self.name = plan, workspace, state.name
        self.frame: Frame = compiled.model.adapt(state.frame)
        self._state, self._compiled = state, compiled
        self.engine: AbstractEngine = compiled.engine(
            self.frame,
            integrator(plan.options.integrator),
            plan.dt,
            threads=threads,
            device=device_of(self.frame.n_particles, plan.options.device),
        )
        frame = self.frame
        # for all frames or for none, whatever their momenta
        self._stores_momenta = stores_momenta(compiled, frame)
        assert frame.p is not None
        self.q, self.p = frame.q, frame.p
        self._first_momentum = frame.p.sum(axis=0)
        self.step = 0
        self.tally = Tally()
        self._constant = compiled.model.constant(self.frame)
        self.stopped: int | None = None
        """The first step that failed, as near as the engine looks."""
        self.reason: str | None = None
        """Why it did."""
        self.devices: list[str] = []
        """All devices that made the trajectory so far, in order."""
        self.engines: list[str] = []
        """All engines that did, in words."""
        self.whole = False
        """Whether step, state, tally and frames written belong together, so that a checkpoint can be made of them."""
        self._told = self._kept = time.monotonic()

    def open(self) -> None:
        """Begin the trajectory in the workspace, in place of any that was begun before."""
        frame, model = self.frame, self._compiled.model
        has_bonds = frame.bonds is not None
        self._dataset_writer = self.workspace.writer(self.plan.states.dataset.units, model, bonds=has_bonds)
        self._writer: TrajectoryWriter = self._dataset_writer.open_trajectory(
            self.name,
            dim=frame.dim,
            species=frame.species,
            masses=frame.masses,
            periodic=frame.periodic,
            box=frame.box,
            bonds=frame.bonds,
            bond_types=frame.bond_types,
        )

    def restore(self) -> bool:
        """Take up the checkpoint, if there is one that is whole, whatever device made it.

        False when a chunk written before it is gone or altered: then the trajectory is to be opened anew, for a start
        from the beginning.
        """
        try:
            step, written, attrs, arrays = self.workspace.kept(self.name)
        except StoreError:
            return True
        try:
            self._writer.resume(*written)
        except StoreError:
            return False
        self.q, self.p, self.step = arrays["q"], arrays["p"], step
        self.tally = Tally(**attrs["tally"])
        self.devices, self.engines = attrs["devices"], attrs["engines"]
        self.whole = True
        return True

    def begin(self) -> None:
        """Make forces at the start, which is stored as frame 0, or where a checkpoint ended.

        Raises DataError, GraphError or ModelError when the state is none to start from.
        """
        # one that has made all of its steps and only lacks its end is not made here
        if self.step < self.plan.options.steps:
            for made_by, name in ((self.devices, self.engine.device), (self.engines, self.engine.description)):
                if name not in made_by:
                    made_by.append(name)
        if self.step > 0:
            self._observe()
            return
        with located(self.plan.states.dataset.path, self._state.trajectory, self._state.frame_index):
            seen = self._observe()
            if seen is None:
                raise ModelError(NO_START)
        self._store(seen)
        self.whole = True

    def run(self, on_step: Callable[[int], None]) -> None:
        """To the end, or to where the state is no longer finite."""
        plan = self.plan
        while self.step < plan.options.steps:
            stop = plan.next_stop(self.step)
            try:
                self.engine.advance(stop - self.step)
            except BlewUp as error:
                # the state after `step` was finite, whatever the engine says of the steps since
                self.stopped, self.reason = self.step + max(error.step, 1), _NOT_FINITE
                return
            except NotConverged as error:
                # which of the steps it was is not told
                self.stopped, self.reason = self.step + 1, str(error)
                return
            # an interrupt may come between any two lines: no checkpoint is made of half a step
            self.whole = False
            self.q, self.p = self.engine.state()
            seen = self._observe()
            if seen is None:
                self.stopped = stop
                return
            self.step = stop
            if plan.is_stored(stop):
                self._store(seen)
            self.whole = True
            self._pause(on_step)

    def _observe(self) -> Observation | None:
        """Make the state anew; None, and a reason, where that cannot be done, or gives numbers that are not finite."""
        try:
            seen = observed(self.engine, self.q, self.p)
        except GraphError as error:
            if self.step == 0:
                raise
            # two particles at one place, or flung so far that no cells can hold them
            self.reason = str(error)
            return None
        if seen is None:
            self.reason = _NOT_FINITE
        return seen

    def _store(self, seen: Observation) -> None:
        rate = self._compiled.rates(self.frame)
        if rate is not None:
            velocity = rate[:, None] * self.p
        else:
            velocity = self._compiled.model.velocities(replace(self.frame, q=self.q, p=self.p))
        self._writer.append(
            q=self.q[None],
            velocity=velocity[None],
            momentum=self.p[None] if self._stores_momenta else None,
            force=seen.forces[None] if self.plan.options.forces else None,
            potential_energy=[seen.potential_energy],
            step=[self.step],
            # a trajectory's times increase: run backwards, they count from the start all the same
            time=[self.step * abs(self.plan.dt)],
        )
        self.tally.add(seen, self.p, self._first_momentum, constant=self._constant, start=self.step == 0)

    def _pause(self, on_step: Callable[[int], None]) -> None:
        """Between two stretches: tell how far it is, see whether to go on, keep a checkpoint."""
        now = time.monotonic()
        if now - self._told >= _TELLING_SECONDS:
            self._told = now
            on_step(self.step)
            self.workspace.check_owner()
        if now - self._kept >= self.plan.options.checkpoint_seconds:
            self.keep()

    def keep(self) -> None:
        """Write a checkpoint; none of work that was given up and removed."""
        if not self.workspace.home.exists():
            return
        attrs, state = {"tally": asdict(self.tally), **self._made_by()}, {"q": self.q, "p": self.p}
        self.workspace.keep(self.name, self.step, self._writer.checkpoint(), attrs, state)
        self._kept = time.monotonic()

    def _made_by(self) -> dict[str, list[str]]:
        return {"devices": self.devices, "engines": self.engines}

    def close(self) -> dict[str, Any]:
        """Finish the trajectory; what it holds, for `DatasetWriter.assemble`, and how it went."""
        self.whole = False
        tally = self.tally
        summary = {
            **origin_of(self._state),
            "steps": self.step,
            "energy_drift": tally.energy_drift,
            "momentum_drift": tally.momentum_drift,
            "outside": tally.outside,
            "pairs": tally.pairs,
            "first_non_finite": self.stopped,
            "reason": self.reason,
            **self._made_by(),
        }
        self._writer.attrs["rollout"] = {"source": self.plan.states.dataset.digest, **summary}
        self._writer.close()
        return {"summary": summary, "written": self._dataset_writer.written()}


def run_rollout(
    plan: RolloutPlan,
    compiled: CompiledModel,
    workspace: Workspace,
    index: int,
    *,
    threads: int = 1,
    on_step: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Run state number ``index`` to its end and keep its result in the workspace; returns its summary.

    What is finished is not run again, and what has a checkpoint goes on there: ``taken_up`` in the summary is the step
    from which it went on. A state that is none to start from has a summary that says so, and no trajectory. Raises
    Abandoned when the workspace has another owner, StoreError when it cannot be written.
    """
    start = plan.states[index]
    name = plan.states.name(start)
    with workspace.writing(name):
        done = finished_rollout(workspace, name)
        if done is not None:
            return {**done["summary"], "taken_up": done["summary"]["steps"], "peak_bytes": 0}
        state = plan.states.load(start)
        try:
            rollout = _begun(plan, compiled, workspace, state, threads)
        except (DataError, GraphError, ModelError) as error:
            if workspace.steps_and_frames(name)[0]:
                raise
            taken_up, done = 0, not_begun(workspace, state, error)
        else:
            taken_up = rollout.step
            try:
                rollout.run(on_step or (lambda step: workspace.tell(name, step)))
                done = rollout.close()
            except BaseException:
                if rollout.whole and rollout.step > taken_up:
                    # the error that ended it says more than one of this last attempt would
                    with suppress(StoreError):
                        rollout.keep()
                raise
            finally:
                rollout.engine.close()
        workspace.finish(name, done)
        return {**done["summary"], "taken_up": taken_up, "peak_bytes": peak_bytes()}


def _begun(
    plan: RolloutPlan, compiled: CompiledModel, workspace: Workspace, state: InitialState, threads: int
) -> _Rollout:
    """The rollout at its start, or at its checkpoint."""
    with located(plan.states.dataset.path, state.trajectory, state.frame_index):
        rollout = _Rollout(plan, compiled, workspace, state, threads)
    try:
        rollout.open()
        if not rollout.restore():
            rollout.open()
        rollout.begin()
    except BaseException:
        rollout.engine.close()
        raise
    return rollout
