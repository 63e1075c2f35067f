"""Graphs: which particles are joined, and by which kind of edge."""

from __future__ import annotations

from hamfit.graphs.all_pairs import AllPairsGraph
from hamfit.graphs.bonds import BondGraph
from hamfit.graphs.caches import AbstractGraphs, FrameGraphs
from hamfit.graphs.channels import species_pairs
from hamfit.graphs.cutoff import CutoffGraph
from hamfit.graphs.cutoffs import parse_cutoffs
from hamfit.graphs.graph import AbstractGraph, Edges, Prepared
from hamfit.graphs.momenta import MomentumGraph
from hamfit.graphs.stored import graph_from_attrs

__all__ = [
    "AbstractGraph",
    "AbstractGraphs",
    "AllPairsGraph",
    "BondGraph",
    "CutoffGraph",
    "Edges",
    "FrameGraphs",
    "MomentumGraph",
    "Prepared",
    "graph_from_attrs",
    "parse_cutoffs",
    "species_pairs",
]
