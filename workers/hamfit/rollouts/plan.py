"""What a rollout will do, in full: made once by the driver, and carried by every task.

The workspace keeps a digest of what was asked for, the step that was proposed, and a copy of the model: from these the
same plan is made again, also when the model has been moved meanwhile.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np

from hamfit.errors import SpecError
from hamfit.features.registry import blocks_to_store
from hamfit.frames import Frame
from hamfit.inference import CompiledModel
from hamfit.integrators import integrator
from hamfit.model import Model
from hamfit.rollouts.options import RolloutOptions
from hamfit.rollouts.sizes import peak_bytes_of_process, stored_bytes
from hamfit.rollouts.starts import InitialStates
from hamfit.rollouts.trying import proposed_step, tried_start

#: Particle steps between two places where a rollout can be taken up: half a minute of a compiled engine.
_SEGMENT_PARTICLE_STEPS = 2e8
#: Part of that for engines that are not compiled.
_SLOW_ENGINE = 1e-2
_LONGEST_SEGMENT = 1_000_000
#: Relative difference of m v and p at which momenta are stored beside velocities.
_MOMENTUM_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class RolloutPlan:
    """Everything that decides the numbers of a rollout."""

    states: InitialStates
    """Where to start from."""
    options: RolloutOptions
    """How to run; ``dt`` is set."""
    dt_proposed: bool
    """Whether dt was proposed rather than given."""
    segment: int
    """Steps after which a rollout can be taken up, beside every stored frame."""
    fingerprint: str
    """Digest of model, data, options and versions: the same gives the same bits on the same devices."""
    engine: str
    """How forces are computed on the processor, in words."""
    compilation_error: float | None
    """Largest relative rms force error of compiled laws; None where none were compiled."""
    engine_bytes: int
    """Memory of an engine for each particle."""
    momenta: bool
    """Whether momenta are stored beside velocities, as far as the first state that can be begun tells."""

    @property
    def dt(self) -> float:
        """Length of a step."""
        assert self.options.dt is not None
        return self.options.dt

    def next_stop(self, step: int) -> int:
        """The next step at which the state is made anew, stored or checkpointed."""
        stops = (every * (step // every + 1) for every in (self.options.stride, self.segment))
        return min(*stops, self.options.steps)

    def is_stored(self, step: int) -> bool:
        """Whether the state after a step is a frame of the result."""
        return step % self.options.stride == 0 or step == self.options.steps

    @property
    def n_frames(self) -> int:
        """Frames of a rollout that runs to its end, the start included."""
        return 1 + -(-self.options.steps // self.options.stride)

    def to_dict(self) -> dict[str, Any]:
        """What ``hamfit rollout --plan`` says."""
        trajectories = self.states.dataset.trajectories
        vectors = 2 + self.options.forces + self.momenta
        starts = Counter(start.trajectory for start in self.states)
        return {
            "rollouts": len(self.states),
            "steps": self.options.steps,
            "dt": self.dt,
            "dt_proposed": self.dt_proposed,
            "frames": self.n_frames,
            "integrator": self.options.integrator,
            "engine": self.engine,
            "compilation_error": self.compilation_error,
            "disk_bytes": sum(
                number * stored_bytes(trajectories[k], self.n_frames, vectors) for k, number in starts.items()
            ),
            "peak_bytes_per_process": peak_bytes_of_process(
                max(t.n_particles for t in trajectories),
                self.states.dataset.dim,
                self.n_frames,
                vectors,
                self.concurrent,
                self.engine_bytes,
            ),
        }

    @property
    def concurrent(self) -> int:
        """Rollouts that run at the same time in one process."""
        return min(len(self.states), self.options.threads)


def stores_momenta(compiled: CompiledModel, frame: Frame) -> bool:
    """Whether velocities and masses do not tell the momenta: whether dT/dp is another thing than p / m.

    A question about the model and the particles, not about the momenta at hand, so that all frames answer alike.
    """
    rates = compiled.rates(frame)
    return rates is None or bool(np.abs(rates * frame.masses - 1.0).max(initial=0.0) > _MOMENTUM_TOLERANCE)


def make_plan(
    model: Model,
    states: InitialStates,
    options: RolloutOptions,
    *,
    proposed_dt: float | None = None,
) -> tuple[RolloutPlan, CompiledModel]:
    """Propose a step where none is given, try the first one, and fix everything else.

    All of it on the processor, so that a plan is the same whatever devices there are. ``proposed_dt`` is what an
    earlier plan of the same fingerprint proposed. States that are none to start from are passed over. Raises SpecError
    when no step can be proposed, or when the first step blows up from every state that it is tried from; ModelError,
    GraphError or DataError when there is no state to start from.
    """
    compiled = CompiledModel(model)
    method = integrator(options.integrator)
    proposed = options.dt is None
    asked = fingerprint(model, states, options)
    dt = options.dt if options.dt is not None else proposed_dt
    if dt == 0.0:
        raise SpecError("dt is 0, which is no step: give a finite number other than 0, negative for backwards")
    if dt is None:
        dt = proposed_step(compiled, states, method.order, options.seed)
    options = options.with_changes(dt=dt)
    start = tried_start(compiled, states, method, dt)
    engine, frame, pairs = start.engine, start.frame, start.seen.pairs
    speed = 1.0 if engine.is_compiled else _SLOW_ENGINE
    most = max(t.n_particles for t in states.dataset.trajectories)
    segment = int(np.clip(speed * _SEGMENT_PARTICLE_STEPS / most, 1, _LONGEST_SEGMENT))
    plan = RolloutPlan(
        states,
        options,
        proposed,
        segment,
        asked,
        engine.description,
        max((law.error for law in compiled.laws), default=None) if engine.is_compiled else None,
        engine.particle_bytes + int(engine.pair_bytes * pairs / frame.n_particles),
        stores_momenta(compiled, frame),
    )
    return plan, compiled


def fingerprint(model: Model, states: InitialStates, options: RolloutOptions) -> str:
    """Digest of a rollout as it was asked for, before a step is proposed: the same gives the same bits.

    Devices are no part of it: they change the rounding, and nobody is to lose work because another one is at hand.
    """
    content: dict[str, Any] = {
        "model": model_digest(model),
        "data": states.dataset.digest,
        "options": options.physics(),
        "versions": _versions(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def model_digest(model: Model) -> str:
    """sha256 (hex) of what a model computes: blocks, coefficients, constants, names and units, but not its history."""
    entries, arrays = blocks_to_store(model.blocks)
    digest = hashlib.sha256(json.dumps([entries, model.labels, model.bond_labels, dict(model.units)]).encode())
    everything = {**arrays, "constants": model.constants, **{f"extents/{k}": v for k, v in model.extents.items()}}
    everything |= {f"theta/{k}": theta for k, theta in enumerate(model.theta)}
    for name in sorted(everything):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(everything[name]).tobytes())
    return digest.hexdigest()


def without_history(model: Model) -> Model:
    """The model without its covariance, which rollouts do not need and which may take hundreds of megabytes."""
    return replace(model, factors={})


@cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("hamfit", "numpy", "numba", "llvmlite")}
