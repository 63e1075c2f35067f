"""Fitted models made ready to run: laws of force as polynomials, and engines that step a system."""

from __future__ import annotations

from hamfit.inference.choosing import CompiledModel
from hamfit.inference.engine import AbstractEngine, BlewUp, Observation
from hamfit.inference.laws import Law, compile_laws

__all__ = ["AbstractEngine", "BlewUp", "CompiledModel", "Law", "Observation", "compile_laws"]
