"""A model made ready to run, and which engine runs it."""

from __future__ import annotations

from typing import TypeGuard

import numpy as np

from hamfit.devices import AbstractDevice
from hamfit.errors import SpecError
from hamfit.frames import Frame
from hamfit.graphs.channels import checked_species
from hamfit.inference.blocks_engine import BlocksEngine
from hamfit.inference.compiled import Law
from hamfit.inference.density import CompiledDensity, compile_density, functions_of
from hamfit.inference.engine import AbstractEngine
from hamfit.inference.pair import CompiledPair, compile_pair
from hamfit.integrators import AbstractIntegrator, Composition
from hamfit.integrators.protocol import check_step
from hamfit.model import Model
from hamfit.types import FloatArray
from hamfit.velocity_ratios import velocity_ratios

#: Largest relative change of |velocity| / |p| over a species' momenta at which velocities count as p times a number.
QUADRATIC = 1e-10


class CompiledModel:
    """A model made ready for engines: its laws are compiled once, for any number of systems."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.functions: CompiledPair | CompiledDensity | None = _functions(model)
        """All that acts, where that is a pair block or a one-density model; None otherwise."""
        self._rates = _rates(model)

    @property
    def laws(self) -> tuple[Law, ...]:
        """The compiled functions; empty where there are none."""
        return () if self.functions is None else self.functions.laws

    def rates(self, frame: Frame) -> FloatArray | None:
        """Velocity over momentum of every particle, (N,); None where velocities are no multiples of p."""
        if self._rates is None:
            return 1.0 / frame.masses
        rates = self._rates[frame.species]
        return None if np.isnan(rates).any() else np.asarray(rates)

    def engine(
        self,
        frame: Frame,
        method: AbstractIntegrator,
        dt: float,
        *,
        threads: int = 1,
        device: AbstractDevice | None = None,
    ) -> AbstractEngine:
        """An engine for the particles of ``frame``, whose positions and momenta are not used.

        It runs on the device given where that has an engine for the model; else on the processor, as its description
        then says. Threads are those of the processor. Raises ModelError, GraphError or DataError when the frame does
        not fit the model, SpecError for a dt that is zero or not finite, for less than one thread, and for an explicit
        method where a block is not separable, DeviceError where the device has no room.
        """
        check_step(dt, 0)
        if threads < 1:
            raise SpecError(f"threads is {threads}: give at least one")
        coupled = [block.kind for block in self.model.blocks if not block.is_separable]
        if coupled and isinstance(method, Composition):
            raise SpecError(
                f"the {coupled[0]} block couples positions and momenta, which {method.name} cannot step: take the"
                " integrator midpoint"
            )
        frame = self.model.adapt(frame)
        checked_species(frame, self.model.labels)
        rate, functions = self.rates(frame), self.functions
        if functions is None or rate is None or not _is_kick_first(method):
            found: AbstractEngine = BlocksEngine(self.model, frame, method, dt)
        else:
            here = None if device is None else functions.on_device(device, frame, rate, method, dt)
            found = functions.on_processor(frame, rate, method, dt, threads) if here is None else here
        if device is not None and found.device == "cpu":
            found.description += f" (on the processor: there is no engine for this on {device.name})"
        return found


def _functions(model: Model) -> CompiledPair | CompiledDensity | None:
    """What acts, compiled; None where that takes blocks."""
    acting = [(b, t) for b, t in zip(model.blocks, model.theta, strict=True) if b.part == "force"]
    found = functions_of(acting)
    if found is None:
        return None
    density, pair = found
    extents = np.zeros((0, 2))
    if pair is not None:
        block = next(block for block, _ in acting if block.pair_functions is not None)
        extents = model.extent_of(block, pair[0].radial.n_channels)
    if density is not None:
        return compile_density(density, pair, extents, model.constants)
    assert pair is not None
    return compile_pair(*pair, extents, model.constants)


def _is_kick_first(method: AbstractIntegrator) -> TypeGuard[Composition]:
    """Whether a step kicks first, as compiled steps do."""
    return isinstance(method, Composition) and method.first == "kick"


def _rates(model: Model) -> FloatArray | None:
    """Velocity over momentum for each species, (S,), nan where that is not one number; None without a kinetic block."""
    # twice as fast as in training, so that hotter runs are covered
    found = velocity_ratios(model, reach=2.0)
    return None if found is None else np.where(found.spread < QUADRATIC, found.ratio, np.nan)
