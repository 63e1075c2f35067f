"""Fitted models made ready to run: laws of force as polynomials, and engines that step a system."""

from __future__ import annotations

from hamfit.inference.compiled import Law
from hamfit.inference.engine import AbstractEngine, BlewUp, Observation
from hamfit.inference.model import CompiledModel

__all__ = ["AbstractEngine", "BlewUp", "CompiledModel", "Law", "Observation"]
