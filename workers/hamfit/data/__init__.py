"""Datasets: trajectories with units in Zarr, how they are written, read and made from other programs'
files."""

from __future__ import annotations

from hamfit.data.dataset import Dataset, Trajectory
from hamfit.data.units import Units
from hamfit.data.writer import DatasetWriter

__all__ = ["Dataset", "DatasetWriter", "Trajectory", "Units"]
