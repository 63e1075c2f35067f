"""Datasets: trajectories with units in Zarr, how they are written and read, and made from other programs'
files."""

from __future__ import annotations

from hamfit.data.dataset import Dataset, Trajectory, as_datasets
from hamfit.data.description import describe
from hamfit.data.ingestion import ingest
from hamfit.data.units import Units, input_units
from hamfit.data.writer import DatasetWriter

__all__ = [
    "Dataset",
    "DatasetWriter",
    "Trajectory",
    "Units",
    "as_datasets",
    "describe",
    "ingest",
    "input_units",
]
