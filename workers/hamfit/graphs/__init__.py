"""Graphs: which particles are joined, and by which kind of edge."""

from __future__ import annotations

from hamfit.graphs.all_pairs import AllPairsGraph
from hamfit.graphs.bonds import BondGraph
from hamfit.graphs.channels import species_pairs
from hamfit.graphs.cutoff import CutoffGraph
from hamfit.graphs.cutoffs import parse_cutoffs
from hamfit.graphs.graph import AbstractGraph, Edges, Prepared
from hamfit.graphs.stored import graph_from_attrs

__all__ = [
    "AbstractGraph",
    "AllPairsGraph",
    "BondGraph",
    "CutoffGraph",
    "Edges",
    "Prepared",
    "graph_from_attrs",
    "parse_cutoffs",
    "species_pairs",
]
