"""Graphs as a model stores them: the inverse of ``to_attrs``."""

from __future__ import annotations

from typing import Any

import numpy as np

from hamfit.errors import SpecError, StoreError
from hamfit.graphs.all_pairs import AllPairsGraph
from hamfit.graphs.bonds import BondGraph
from hamfit.graphs.cutoff import CutoffGraph
from hamfit.graphs.graph import AbstractGraph


def graph_from_attrs(attrs: dict[str, Any]) -> AbstractGraph:
    """The graph that ``to_attrs`` described, equal to the last bit.

    Raises StoreError when the description is of a kind that this version does not know, or is damaged.
    """
    kind = attrs.get("kind")
    try:
        if kind == CutoffGraph.kind:
            return CutoffGraph(tuple(attrs["labels"]), np.array(attrs["cutoffs"], dtype=np.float64))
        if kind == BondGraph.kind:
            return BondGraph(tuple(attrs["bond_labels"]))
        if kind == AllPairsGraph.kind:
            return AllPairsGraph(tuple(attrs["labels"]))
    except (KeyError, TypeError, ValueError, SpecError) as error:
        raise StoreError(f"the stored graph of kind {kind!r} is damaged ({error}): restore the store") from error
    raise StoreError(f"the stored graph is of unknown kind {kind!r}: open it with the version of hamfit that wrote it")
