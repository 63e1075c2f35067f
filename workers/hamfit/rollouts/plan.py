"""What a rollout will do, in full: made once by the driver, and carried by every task.

The workspace keeps a digest of what was asked for, the step that was proposed, and a copy of the model: from these the
same plan is made again, also when the model has been moved meanwhile.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from hamfit.errors import DataError, GraphError, HamfitError, ModelError, SpecError, located
from hamfit.features.store import blocks_to_store
from hamfit.frames import Frame
from hamfit.inference import BlewUp, CompiledModel, Observation
from hamfit.inference.blocks import BlocksEngine
from hamfit.inference.density_engine import DensityEngine
from hamfit.inference.engine import AbstractEngine
from hamfit.integrators import AbstractIntegrator, integrator
from hamfit.model import Model
from hamfit.rollouts.options import RolloutOptions
from hamfit.rollouts.sizes import peak_bytes_of_process, stored_bytes
from hamfit.rollouts.starts import InitialState, InitialStates
from hamfit.rollouts.stepsize import propose_dt, stiffest_ahead, stiffest_frequency
from hamfit.types import FloatArray

#: Most states that a step is proposed from, each of which takes a thousand forces.
_SAMPLED_STATES = 3
#: Bytes of an engine for each particle: state, windows of forces, runs.
_ENGINE_BYTES = 1100
#: Bytes of each pair that a density engine keeps between its two passes, with room for more pairs than at the start.
_PAIR_BYTES = 70
#: Particle steps between two places where a rollout can be taken up: half a minute of a compiled engine.
_SEGMENT_PARTICLE_STEPS = 2e8
#: Part of that for engines that are not compiled.
_SLOW_ENGINE = 1e-2
_LONGEST_SEGMENT = 1_000_000
#: Relative difference of m v and p at which momenta are stored beside velocities.
_MOMENTUM_TOLERANCE = 1e-9

NO_START = "its energy or forces are not finite, particles are too close: start from another one"
"""What is said of a state without the numbers that a rollout begins with."""


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


def constant_of(model: Model, frame: Frame) -> float:
    """The model's energy of the frame's particles beside its features: what moves nothing. 0 where it is unknown."""
    return float(np.nan_to_num(model.constants)[frame.species].sum())


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
    when no step can be proposed, or when the first step from the first state blows up; ModelError, GraphError or
    DataError when no state fits the model.
    """
    compiled = CompiledModel(model)
    method = integrator(options.integrator)
    proposed = options.dt is None
    asked = fingerprint(model, states, options)
    dt = options.dt if options.dt is not None else proposed_dt
    if dt == 0.0:
        raise SpecError("dt is 0, which is no step: give a finite number other than 0, negative for backwards")
    if dt is None:
        dt = _proposed(compiled, states, options, method.order)
    options = options.with_changes(dt=dt)
    start = _first(compiled, states, method, dt)
    engine, frame = start.engine, start.frame
    try:
        with start.located():
            _try_first_step(start, dt, constant_of(model, frame))
    finally:
        engine.close()
    speed = _SLOW_ENGINE if isinstance(engine, BlocksEngine) else 1.0
    most = max(t.n_particles for t in states.dataset.trajectories)
    segment = int(np.clip(speed * _SEGMENT_PARTICLE_STEPS / most, 1, _LONGEST_SEGMENT))
    pairs = start.seen.pairs
    plan = RolloutPlan(
        states,
        options,
        proposed,
        segment,
        asked,
        engine.description,
        None if isinstance(engine, BlocksEngine) else max((law.error for law in compiled.laws), default=None),
        _ENGINE_BYTES + int(_PAIR_BYTES * pairs / frame.n_particles) * isinstance(engine, DensityEngine),
        stores_momenta(compiled, frame),
    )
    return plan, compiled


@dataclass(frozen=True, slots=True, eq=False)
class _Start:
    """A state that can be begun, and an engine begun there."""

    index: int
    path: Path
    state: InitialState
    frame: Frame
    engine: AbstractEngine
    seen: Observation

    def located(self) -> AbstractContextManager[None]:
        return located(self.path, self.state.trajectory, self.state.frame_index)


def observed(engine: AbstractEngine, q: FloatArray, p: FloatArray) -> Observation | None:
    """What an engine sees where it is begun; None when not all of it is finite. Raises as ``AbstractEngine.begin``."""
    with np.errstate(over="ignore", invalid="ignore"):
        seen = engine.begin(q, p)
        # sums of squares, as are taken of momenta, overflow before they do
        finite = np.isfinite(seen.energy) and np.isfinite(seen.forces).all() and np.isfinite(np.sum(p**2))
    return seen if finite else None


def _begun(
    compiled: CompiledModel, states: InitialStates, index: int, method: AbstractIntegrator, dt: float
) -> _Start:
    """An engine begun at a state; DataError, GraphError or ModelError when it is none to start from."""
    state = states.load(states[index])
    with located(states.dataset.path, state.trajectory, state.frame_index):
        frame = compiled.model.adapt(state.frame)
        assert frame.p is not None
        engine = compiled.engine(frame, method, dt)
        try:
            seen = observed(engine, frame.q, frame.p)
            if seen is None:
                raise ModelError(NO_START)
        except BaseException:
            engine.close()
            raise
    return _Start(index, states.dataset.path, state, frame, engine, seen)


def _first(compiled: CompiledModel, states: InitialStates, method: AbstractIntegrator, dt: float) -> _Start:
    """The first state that can be begun; where none can, the first of them says why."""
    errors: list[HamfitError] = []
    for index in range(len(states)):
        try:
            return _begun(compiled, states, index, method, dt)
        except (DataError, GraphError, ModelError) as error:
            errors = errors or [error]
    raise errors[0]


def _proposed(compiled: CompiledModel, states: InitialStates, options: RolloutOptions, order: int) -> float:
    sampled = _SAMPLED_STATES if compiled.laws else 1
    verlet = integrator("verlet")
    first = _first(compiled, states, verlet, 1.0)
    rest = np.unique(np.linspace(first.index, len(states) - 1, sampled).astype(int))[1:]
    stiffest = 0.0
    for index in (first.index, *rest.tolist()):
        try:
            start = first if index == first.index else _begun(compiled, states, index, verlet, 1.0)
        except (DataError, GraphError, ModelError):
            continue
        try:
            stiffest = max(stiffest, _stiffest(compiled, start, options.seed))
        finally:
            start.engine.close()
    # two digits: a number that people can read and repeat
    return float(f"{propose_dt(stiffest, order):.1e}")


def _stiffest(compiled: CompiledModel, start: _Start, seed: int) -> float:
    rate, p = compiled.rates(start.frame), start.frame.p
    if rate is None:
        raise SpecError("the model's velocities are no multiples of momenta, so no step is proposed: give dt")
    assert p is not None
    return stiffest_ahead(_Forces(start.engine, p), start.frame.q, p, rate, seed=seed)


class _Forces:
    """Forces as a function of positions, through an engine."""

    def __init__(self, engine: AbstractEngine, p: FloatArray) -> None:
        self._engine, self._p = engine, p

    def __call__(self, q: FloatArray) -> FloatArray:
        return self._engine.begin(q, self._p).forces


def _try_first_step(start: _Start, dt: float, constant: float) -> None:
    """SpecError when one step changes the energy by more than there is, the model's ``constant`` aside."""
    engine, before, q, p = start.engine, start.seen, start.frame.q, start.frame.p
    assert p is not None
    # energies per atom are often thousands of times what moves
    scale = max(before.kinetic_energy, abs(before.potential_energy - constant))
    with np.errstate(over="ignore", invalid="ignore"):
        try:
            engine.advance(1)
            change = abs(engine.begin(*engine.state()).energy - before.energy)
        except (BlewUp, GraphError):
            change = np.inf
    # a nan is no change that could be accepted
    if change <= scale or (scale == 0.0 and np.isfinite(change)):
        return
    inverse = 2.0 * before.kinetic_energy / float(np.sum(p**2)) if np.any(p) else 1.0
    try:
        limit = 2.0 / stiffest_frequency(_Forces(engine, p), q, np.full(len(q), inverse), seed=0)
        hint = f"take less than {limit:.1e}, above which steps are unstable"
    except (ModelError, GraphError, ZeroDivisionError):
        hint = "leave dt out to have one proposed"
    raise SpecError(f"dt {dt:g} blows up in the first step (energy {before.energy:g} changes by {change:.1e}): {hint}")


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
