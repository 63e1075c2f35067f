"""Trying states before anything is run: which can be begun, how long a step may be, whether the first one holds.

A state can be none to start from (two particles at one place), which is no reason not to run the others: it is passed
over here, and its own rollout says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from hamfit.errors import DataError, GraphError, HamfitError, ModelError, SpecError, located
from hamfit.frames import Frame
from hamfit.inference import BlewUp, CompiledModel, Observation
from hamfit.inference.engine import AbstractEngine
from hamfit.integrators import AbstractIntegrator, integrator
from hamfit.rollouts.starts import InitialState, InitialStates
from hamfit.rollouts.stepsize import Forces, propose_dt, stiffest_ahead, stiffest_frequency
from hamfit.types import FloatArray

#: Most states that a step is proposed from, each of which takes a thousand forces, or tried from.
_SAMPLED_STATES = 3

NO_START = "its energy or forces are not finite, particles are too close: start from another one"
"""What is said of a state without the numbers that a rollout begins with."""


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A state that can be begun, and an engine begun there."""

    index: int
    """Its number."""
    state: InitialState
    """The state."""
    frame: Frame
    """Its frame in the model's own order of species."""
    engine: AbstractEngine
    """The engine."""
    seen: Observation
    """What it saw there."""


def observed(engine: AbstractEngine, q: FloatArray, p: FloatArray) -> Observation | None:
    """What an engine sees where it is begun; None when not all of it is finite. Raises as ``AbstractEngine.begin``."""
    with np.errstate(over="ignore", invalid="ignore"):
        seen = engine.begin(q, p)
        # sums of squares, as are taken of momenta, overflow before they do
        finite = np.isfinite(seen.energy) and np.isfinite(seen.forces).all() and np.isfinite(np.sum(p**2))
    return seen if finite else None


def _begun(
    compiled: CompiledModel, states: InitialStates, index: int, method: AbstractIntegrator, dt: float
) -> Start | HamfitError:
    """An engine begun at a state; the error where it is none to start from."""
    state = states.load(states[index])
    try:
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
    except (DataError, GraphError, ModelError) as error:
        return error
    return Start(index, state, frame, engine, seen)


def _starts(compiled: CompiledModel, states: InitialStates, method: AbstractIntegrator, dt: float) -> Iterator[Start]:
    """The states that can be begun, in their order; where none can, the error of the first."""
    why: HamfitError | None = None
    none = True
    for index in range(len(states)):
        found = _begun(compiled, states, index, method, dt)
        if isinstance(found, Start):
            none = False
            yield found
        elif why is None:
            why = found
    if none and why is not None:
        raise why


def tried_start(compiled: CompiledModel, states: InitialStates, method: AbstractIntegrator, dt: float) -> Start:
    """The first state, of a few, whose first step does not blow up; its engine is closed."""
    why: SpecError | None = None
    for start in islice(_starts(compiled, states, method, dt), _SAMPLED_STATES):
        try:
            with located(states.dataset.path, start.state.trajectory, start.state.frame_index):
                _try_first_step(start, dt, compiled.model.constant(start.frame))
            return start
        except SpecError as error:
            why = why or error
        finally:
            start.engine.close()
    assert why is not None
    raise why


def proposed_step(compiled: CompiledModel, states: InitialStates, order: int, seed: int) -> float:
    """A step that suits some of the states, those that can be begun; SpecError where none can be told."""
    sampled = _SAMPLED_STATES if compiled.laws else 1
    verlet = integrator("verlet")
    first = next(_starts(compiled, states, verlet, 1.0))
    rest = np.unique(np.linspace(first.index, len(states) - 1, sampled).astype(int))[1:]
    stiffest = 0.0
    for start in chain([first], (_begun(compiled, states, index, verlet, 1.0) for index in rest.tolist())):
        if isinstance(start, Start):
            q, p = start.frame.q, start.frame.p
            try:
                rate = compiled.rates(start.frame)
                if rate is None:
                    raise SpecError(
                        "the model's velocities are no multiples of momenta, so no step is proposed: give dt"
                    )
                assert p is not None
                stiffest = max(stiffest, stiffest_ahead(_forces(start.engine, p), q, p, rate, seed=seed))
            finally:
                start.engine.close()
    # two digits: a number that people can read and repeat
    return float(f"{propose_dt(stiffest, order):.1e}")


def _forces(engine: AbstractEngine, p: FloatArray) -> Forces:
    """Forces as a function of positions, through an engine."""
    return lambda q: engine.begin(q, p).forces


def _try_first_step(start: Start, dt: float, constant: float) -> None:
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
        limit = 2.0 / stiffest_frequency(_forces(engine, p), q, np.full(len(q), inverse), seed=0)
        hint = f"take less than {limit:.1e}, above which steps are unstable"
    except (ModelError, GraphError, ZeroDivisionError):
        hint = "leave dt out to have one proposed"
    raise SpecError(f"dt {dt:g} blows up in the first step (energy {before.energy:g} changes by {change:.1e}): {hint}")
