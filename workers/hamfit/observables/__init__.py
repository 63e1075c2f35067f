"""Observables of trajectories, with honest standard errors: g(r), displacement, autocorrelation, pressure, drift."""

from __future__ import annotations

from hamfit.observables.blocking import BlockedCurve, CurveDifference, block_length, compare_curves
from hamfit.observables.lagged import LaggedAverage
from hamfit.observables.liquid import LiquidObservables, measure_liquid
from hamfit.observables.pressure import pressure, pressure_from_virial, temperature
from hamfit.observables.rdf import default_r_max, pair_distribution
from hamfit.observables.trend import Trend, combined_trend, linear_trend
from hamfit.observables.unwrapping import Unwrapper, is_wrapped

__all__ = [
    "BlockedCurve",
    "CurveDifference",
    "LaggedAverage",
    "LiquidObservables",
    "Trend",
    "Unwrapper",
    "block_length",
    "combined_trend",
    "compare_curves",
    "default_r_max",
    "is_wrapped",
    "linear_trend",
    "measure_liquid",
    "pair_distribution",
    "pressure",
    "pressure_from_virial",
    "temperature",
]
