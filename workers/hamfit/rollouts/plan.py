"""What a rollout will do, in full: made once by the driver, read by whoever runs a part of it.

The plan lies in the workspace as a bundle with a copy of the model, so that a rollout can be taken up after
its model has been moved, and so that a task carries a path and a number.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np

from hamfit.errors import ModelError, SpecError
from hamfit.features.store import blocks_to_store
from hamfit.inference import BlewUp, CompiledModel
from hamfit.inference.blocks import BlocksEngine
from hamfit.inference.engine import AbstractEngine
from hamfit.integrators import integrator
from hamfit.model import Model
from hamfit.rollouts.options import RolloutOptions
from hamfit.rollouts.starts import InitialStates
from hamfit.rollouts.stepsize import propose_dt, stiffest_ahead, stiffest_frequency
from hamfit.stores.zarr_array import TARGET_CHUNK_BYTES
from hamfit.types import FloatArray

#: Most states that a step is proposed from.
_SAMPLED_STATES = 3
#: Particle steps between two places where a rollout can be taken up: half a minute of a compiled engine.
_SEGMENT_PARTICLE_STEPS = 2e8
#: Part of that for engines that are not compiled.
_SLOW_ENGINE = 1e-2
_LONGEST_SEGMENT = 1_000_000
#: Bytes of an engine for each particle: state, windows of forces, runs.
_ENGINE_BYTES = 1100
#: Resident memory of a process before it has a system, with all kernels loaded.
_BASE_BYTES = 400 * 2**20


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
    """Digest of model, data, options and versions: the same gives the same bits."""
    engine: str
    """How forces are computed, in words."""
    compilation_error: float | None
    """Largest relative rms force error of compiled laws; None where none were compiled."""

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
        sizes = [t.n_particles for t in self.states.dataset.trajectories]
        fields = 3 if self.options.forces else 2
        frame_bytes = 8 * fields * self.states.dataset.dim
        share = len(self.states) // len(sizes)
        return {
            "rollouts": len(self.states),
            "steps": self.options.steps,
            "dt": self.dt,
            "dt_proposed": self.dt_proposed,
            "frames": self.n_frames,
            "integrator": self.options.integrator,
            "engine": self.engine,
            "compilation_error": self.compilation_error,
            "disk_bytes": self.n_frames * frame_bytes * share * sum(sizes),
            "peak_bytes_per_process": predicted_bytes(max(sizes), self.n_frames, frame_bytes, self.concurrent),
        }

    @property
    def concurrent(self) -> int:
        """Rollouts that run at the same time in one process."""
        return min(len(self.states), self.options.threads)


def predicted_bytes(n_particles: int, n_frames: int, frame_bytes: int, concurrent: int) -> int:
    """Peak memory of a process, whatever the number of steps: an engine and one chunk of each field per rollout."""
    pending = min(n_frames * n_particles * frame_bytes, 3 * TARGET_CHUNK_BYTES)
    # a chunk is joined from its rows, padded and turned to bytes before it is written
    return int(_BASE_BYTES + concurrent * (n_particles * _ENGINE_BYTES + 4 * pending))


def make_plan(model: Model, states: InitialStates, options: RolloutOptions) -> tuple[RolloutPlan, CompiledModel]:
    """Propose a step where none is given, try the first one, and fix everything else.

    Raises SpecError when no step can be proposed, or when the first step from the first state blows up; ModelError,
    GraphError or DataError when a state does not fit the model.
    """
    compiled = CompiledModel(model)
    method = integrator(options.integrator)
    proposed = options.dt is None
    dt = options.dt if options.dt is not None else _proposed(compiled, states, options, method.order)
    if dt == 0.0:
        raise SpecError("dt is 0, which is no step: give a finite number other than 0, negative for backwards")
    options = options.with_changes(dt=dt)
    state = states.load(states[0])
    frame = model.adapt(state.frame)
    engine = compiled.engine(frame, method, dt)
    assert frame.p is not None
    _try_first_step(engine, frame.q, frame.p, dt)
    slow = _SLOW_ENGINE if isinstance(engine, BlocksEngine) else 1.0
    most = max(t.n_particles for t in states.dataset.trajectories)
    segment = int(np.clip(slow * _SEGMENT_PARTICLE_STEPS / most, 1, _LONGEST_SEGMENT))
    plan = RolloutPlan(
        states,
        options,
        proposed,
        segment,
        _fingerprint(model, states, options),
        engine.description,
        max((law.error for law in compiled.laws), default=None),
    )
    return plan, compiled


def _proposed(compiled: CompiledModel, states: InitialStates, options: RolloutOptions, order: int) -> float:
    chosen = np.unique(np.linspace(0, len(states) - 1, _SAMPLED_STATES).astype(int))
    stiffest = 0.0
    for index in chosen:
        frame = compiled.model.adapt(states.load(states[int(index)]).frame)
        rate = compiled.rates(frame)
        if rate is None:
            raise SpecError("the model's velocities are no multiples of momenta, so no step is proposed: give dt")
        assert frame.p is not None
        forces = _Forces(compiled.engine(frame, integrator("verlet"), 1.0), frame.p)
        stiffest = max(stiffest, stiffest_ahead(forces, frame.q, frame.p, rate, seed=options.seed))
    # two digits: a number that people can read and repeat
    return float(f"{propose_dt(stiffest, order):.1e}")


class _Forces:
    """Forces as a function of positions, through an engine."""

    def __init__(self, engine: AbstractEngine, p: FloatArray) -> None:
        self._engine, self._p = engine, p

    def __call__(self, q: FloatArray) -> FloatArray:
        return self._engine.begin(q, self._p).forces


def _try_first_step(engine: AbstractEngine, q: FloatArray, p: FloatArray, dt: float) -> None:
    """SpecError when one step changes the energy by more than there is."""
    before = engine.begin(q, p)
    if not np.isfinite(before.energy):
        raise ModelError("the energy of the first initial state is not finite: its particles are too close")
    scale = max(abs(before.energy), before.kinetic_energy, abs(before.potential_energy))
    try:
        engine.advance(1)
        after = engine.begin(*engine.state())
        change = abs(after.energy - before.energy)
    except BlewUp:
        change = np.inf
    if change <= scale or scale == 0.0:
        return
    inverse = 2.0 * before.kinetic_energy / float(np.sum(p**2)) if np.any(p) else 1.0
    try:
        limit = 2.0 / stiffest_frequency(_Forces(engine, p), q, np.full(len(q), inverse), seed=0)
        hint = f"steps above {limit:.1e} are unstable"
    except (ModelError, ZeroDivisionError):
        hint = "leave dt out to have one proposed"
    raise SpecError(
        f"dt = {dt:g} blows up in the first step (energy {before.energy:g} changes by {change:.1e}): {hint}"
    )


def _fingerprint(model: Model, states: InitialStates, options: RolloutOptions) -> str:
    content = {
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
