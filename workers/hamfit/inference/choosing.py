"""Which engine runs a model."""

from __future__ import annotations

from typing import TypeGuard

import numpy as np

from hamfit.devices import AbstractDevice
from hamfit.errors import SpecError
from hamfit.features.functions import PairFunctions
from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph
from hamfit.graphs.channels import checked_species
from hamfit.inference.blocks import BlocksEngine
from hamfit.inference.cutoff import CutoffEngine
from hamfit.inference.density import CompiledDensity, compile_density, density_of
from hamfit.inference.density_engine import DensityEngine
from hamfit.inference.device_density_engine import DeviceDensityEngine
from hamfit.inference.device_pair_engine import DevicePairEngine
from hamfit.inference.engine import AbstractEngine
from hamfit.inference.laws import Law, compile_laws
from hamfit.inference.listed import ListedEngine
from hamfit.integrators import AbstractIntegrator, Composition
from hamfit.integrators.protocol import check_step
from hamfit.kernels.pair_tables import Tables
from hamfit.model import Model
from hamfit.types import FloatArray
from hamfit.velocity_ratios import velocity_ratios

#: Largest relative change of |velocity| / |p| over a species' momenta at which velocities count as p times a number.
QUADRATIC = 1e-10


class CompiledModel:
    """A model made ready for engines: its laws are compiled once, for any number of systems."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._pair: PairFunctions | None = None
        self.laws: tuple[Law, ...] = ()
        """Compiled laws of a pair block or of a one-density model, where that is all that acts; empty otherwise."""
        self.density: CompiledDensity | None = None
        """A one-density model with its error, where that is all that acts."""
        self._tables: Tables | None = None
        acting = [(b, t) for b, t in zip(model.blocks, model.theta, strict=True) if b.part == "force"]
        block, theta = acting[0] if len(acting) == 1 else (None, None)
        if block is not None and theta is not None and (pair := block.pair_functions) is not None:
            self._pair = pair
            self._extents = model.extents.get(block.kind, np.full((pair.radial.n_channels, 2), np.nan))
            self.laws, self._tables = compile_laws(pair.radial, theta, self._extents, pair.graph.channel_labels)
        found = density_of(acting)
        if found is not None:
            nothing = np.full((len(model.labels) * (len(model.labels) + 1) // 2, 2), np.nan)
            extents = [model.extents.get(block.kind, nothing) for block, _ in acting if block.pair_functions]
            self.density = compile_density(*found, extents[0] if extents else nothing, model.constants)
            self.laws = self.density.laws
        self._rates = _rates(model)

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
        not fit the model, SpecError for a dt that is zero or not finite and for less than one thread, DeviceError where
        the device has no room.
        """
        check_step(dt, 0)
        if threads < 1:
            raise SpecError(f"threads is {threads}: give at least one")
        frame = self.model.adapt(frame)
        checked_species(frame, self.model.labels)
        found = None if device is None else self._on_device(device, frame, method, dt)
        if found is None:
            found = self._on_processor(frame, method, dt, threads)
            if device is not None:
                found.description += f" (on the processor: there is no engine for this on {device.name})"
        return found

    def _on_device(
        self, device: AbstractDevice, frame: Frame, method: AbstractIntegrator, dt: float
    ) -> AbstractEngine | None:
        """The engine on a device, None where there is none for this model and method."""
        rate = self.rates(frame)
        if rate is None or not _is_kick_first(method):
            return None
        if self.density is not None:
            return DeviceDensityEngine(device, self.density, frame, rate, method, dt)
        if self._pair is None or self._tables is None or not isinstance(self._pair.graph, CutoffGraph):
            return None
        return DevicePairEngine(
            device,
            self._pair.graph,
            self.laws,
            self._tables,
            self._extents,
            frame,
            rate,
            self.model.constant(frame),
            method,
            dt,
        )

    def _on_processor(self, frame: Frame, method: AbstractIntegrator, dt: float, threads: int) -> AbstractEngine:
        rate = self.rates(frame)
        if self.density is not None and rate is not None and _is_kick_first(method):
            return DensityEngine(self.density, frame, rate, method, dt, threads)
        if self._pair is None or self._tables is None or rate is None or not _is_kick_first(method):
            return BlocksEngine(self.model, frame, method, dt)
        constant, graph = self.model.constant(frame), self._pair.graph
        if isinstance(graph, CutoffGraph):
            return CutoffEngine(
                graph, self.laws, self._tables, self._extents, frame, rate, constant, method, dt, threads
            )
        return ListedEngine(graph, self.laws, self._tables, self._extents, frame, rate, constant, method, dt)


def _is_kick_first(method: AbstractIntegrator) -> TypeGuard[Composition]:
    """Whether a step kicks first, as compiled steps do."""
    return isinstance(method, Composition) and method.first == "kick"


def _rates(model: Model) -> FloatArray | None:
    """Velocity over momentum for each species, (S,), nan where that is not one number; None without a kinetic block."""
    # twice as fast as in training, so that hotter runs are covered
    found = velocity_ratios(model, reach=2.0)
    return None if found is None else np.where(found.spread < QUADRATIC, found.ratio, np.nan)
