"""One rollout from its start, or its checkpoint, to its end: runs on a thread of the driver or on a Dask worker.

The state is made anew at every stored frame and at every `segment` steps (`RolloutPlan.next_stop`), so what was
computed before a stop is of no consequence after it, and a rollout that was killed goes on to the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from hamfit.bundles import read_bundle, write_bundle
from hamfit.data.trajectory_writer import TrajectoryWriter
from hamfit.data.writer import DatasetWriter
from hamfit.errors import GraphError, StoreError
from hamfit.frames import Frame
from hamfit.inference import BlewUp, CompiledModel, Observation
from hamfit.inference.engine import AbstractEngine
from hamfit.integrators import integrator
from hamfit.rollouts.plan import RolloutPlan
from hamfit.rollouts.starts import InitialState
from hamfit.rollouts.workspace import Workspace
from hamfit.types import FloatArray

_CHECKPOINT_SCHEMA = 1
#: Seconds between two words about progress.
_TELLING_SECONDS = 0.5
#: Relative difference of m v and p at which momenta are stored beside velocities.
_MOMENTUM_TOLERANCE = 1e-9


@dataclass(slots=True)
class Tally:
    """What is summed up over the stored frames of a rollout."""

    first_energy: float = 0.0
    """H at the start."""
    scale: float = 0.0
    """max(|H(0)|, max_t T(t)): what drifts of the energy are relative to."""
    energy_change: float = 0.0
    """max_t |H(t) - H(0)|."""
    momentum_change: float = 0.0
    """max_t |P(t) - P(0)|."""
    momentum_scale: float = 0.0
    """sum_i |p_i| at the start, or the largest since where that is more."""
    outside: int = 0
    """Pairs outside the range of distances seen in training, over all frames."""
    pairs: int = 0
    """Pairs that interact, over all frames."""

    @property
    def energy_drift(self) -> float:
        """Largest change of the energy, relative."""
        return self.energy_change / self.scale if self.scale > 0.0 else self.energy_change

    @property
    def momentum_drift(self) -> float:
        """Largest change of the total momentum, relative."""
        return self.momentum_change / self.momentum_scale if self.momentum_scale > 0.0 else self.momentum_change

    def add(self, seen: Observation, p: FloatArray, first_momentum: FloatArray, *, start: bool) -> None:
        """Take a frame into account."""
        if start:
            self.first_energy = seen.energy
        self.scale = max(self.scale, abs(self.first_energy), seen.kinetic_energy)
        self.energy_change = max(self.energy_change, abs(seen.energy - self.first_energy))
        self.momentum_change = max(self.momentum_change, float(np.linalg.norm(p.sum(axis=0) - first_momentum)))
        self.momentum_scale = max(self.momentum_scale, float(np.linalg.norm(p, axis=1).sum()))
        self.outside += seen.outside
        self.pairs += seen.pairs


class _Rollout:
    """One rollout under way."""

    def __init__(
        self, plan: RolloutPlan, compiled: CompiledModel, workspace: Workspace, state: InitialState, threads: int
    ) -> None:
        self.plan, self.workspace, self.name = plan, workspace, state.name
        self.frame: Frame = compiled.model.adapt(state.frame)
        self._state, self._compiled = state, compiled
        self.engine: AbstractEngine = compiled.engine(
            self.frame, integrator(plan.options.integrator), plan.dt, threads=threads
        )
        dataset = plan.states.dataset
        self._dataset_writer = DatasetWriter.part(
            workspace.store,
            workspace.out,
            units=dataset.units,
            labels=compiled.model.labels,
            bond_labels=compiled.model.bond_labels if self.frame.bonds is not None else (),
        )
        frame = self.frame
        self._writer: TrajectoryWriter = self._dataset_writer.open_trajectory(
            state.name,
            dim=frame.dim,
            species=frame.species,
            masses=frame.masses,
            periodic=frame.periodic,
            box=frame.box,
            bonds=frame.bonds,
            bond_types=frame.bond_types,
        )
        assert frame.p is not None
        self.q, self.p = frame.q, frame.p
        self._first_momentum = frame.p.sum(axis=0)
        self.step = 0
        self.tally = Tally()
        self.stopped: int | None = None
        self._told = self._kept = time.monotonic()

    def restore(self) -> bool:
        """Take up the checkpoint; False when there is none that is whole."""
        try:
            attrs, arrays = read_bundle(self.workspace.checkpoint(self.name), "checkpoint", _CHECKPOINT_SCHEMA)
        except StoreError:
            return False
        pending = {key[len("pending/") :]: value for key, value in arrays.items() if key.startswith("pending/")}
        try:
            self._writer.resume(attrs["writer"], pending)
        except StoreError:
            # a chunk written before the checkpoint is gone: from the start, with a writer that knows nothing of it
            return False
        self.q, self.p, self.step = arrays["q"], arrays["p"], int(attrs["step"])
        self.tally = Tally(**attrs["tally"])
        return True

    def run(self, on_step: Callable[[int], None]) -> None:
        """To the end, or to where the state is no longer finite."""
        plan = self.plan
        fresh = self.step == 0
        seen = self._observe()
        if seen is None:
            return
        if fresh:
            self._store(seen)
        while self.step < plan.options.steps:
            stop = plan.next_stop(self.step)
            try:
                self.engine.advance(stop - self.step)
            except BlewUp as error:
                self.stopped = self.step + error.step
                return
            self.q, self.p = self.engine.state()
            self.step = stop
            seen = self._observe()
            if seen is None:
                return
            if plan.is_stored(stop):
                self._store(seen)
            self._pause(on_step)

    def _observe(self) -> Observation | None:
        """Make the state anew; None, and stopped, where that cannot be done."""
        try:
            seen = self.engine.begin(self.q, self.p)
        except GraphError:
            if self.step == 0:
                raise
            # two particles at one place, or flung so far that no cells can hold them
            seen = None
        if seen is None or not (np.isfinite(seen.energy) and np.isfinite(seen.forces).all()):
            self.stopped = self.step
            return None
        return seen

    def _store(self, seen: Observation) -> None:
        frame = self.frame
        velocity = self._velocity()
        momentum = None
        if float(np.abs(velocity * frame.masses[:, None] - self.p).max()) > _MOMENTUM_TOLERANCE * float(
            np.abs(self.p).max()
        ):
            momentum = self.p[None]
        self._writer.append(
            q=self.q[None],
            velocity=velocity[None],
            momentum=momentum,
            force=seen.forces[None] if self.plan.options.forces else None,
            potential_energy=[seen.potential_energy],
            step=[self.step],
            # a trajectory's times increase: run backwards, they count from the start all the same
            time=[self.step * abs(self.plan.dt)],
        )
        self.tally.add(seen, self.p, self._first_momentum, start=self.step == 0)

    def _velocity(self) -> FloatArray:
        rate = self._compiled.rates(self.frame)
        if rate is not None:
            return rate[:, None] * self.p
        return self._compiled.model.velocities(replace(self.frame, q=self.q, p=self.p))

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
        """Write a checkpoint."""
        attrs, pending = self._writer.checkpoint()
        arrays: dict[str, np.ndarray] = {f"pending/{key}": value for key, value in pending.items()}
        write_bundle(
            self.workspace.checkpoint(self.name),
            "checkpoint",
            _CHECKPOINT_SCHEMA,
            {"step": self.step, "tally": asdict(self.tally), "writer": attrs},
            {"q": self.q, "p": self.p, **arrays},
        )
        self._kept = time.monotonic()

    def close(self) -> dict[str, Any]:
        """Finish the trajectory; what it holds, for `DatasetWriter.assemble`, and how it went."""
        tally = self.tally
        summary = {
            "name": self.name,
            "trajectory": self._state.trajectory,
            "frame": self._state.frame_index,
            "replica": self._state.replica,
            "steps": self.step,
            "energy_drift": tally.energy_drift,
            "momentum_drift": tally.momentum_drift,
            "outside": tally.outside,
            "pairs": tally.pairs,
            "first_non_finite": self.stopped,
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

    What is finished is not run again, and what has a checkpoint goes on there. Raises Abandoned when the workspace
    has another owner, StoreError when it cannot be written.
    """
    name = plan.states.name(plan.states[index])
    with workspace.writing(name):
        done = workspace.finished(name)
        if done is None:
            state = plan.states.load(plan.states[index])
            rollout = _Rollout(plan, compiled, workspace, state, threads)
            if not rollout.restore():
                rollout.engine.close()
                rollout = _Rollout(plan, compiled, workspace, state, threads)
            try:
                rollout.run(on_step or (lambda step: workspace.tell(name, step)))
                done = rollout.close()
            except BaseException:
                if rollout.step > 0:
                    rollout.keep()
                raise
            finally:
                rollout.engine.close()
            workspace.finish(name, done)
        summary: dict[str, Any] = done["summary"]
        return summary
