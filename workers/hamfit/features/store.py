"""Blocks to and from plain attributes and arrays, by the name of their kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hamfit.bundles import nested, within
from hamfit.errors import StoreError
from hamfit.features.block import AbstractBlock


def _block_types() -> dict[str, type[AbstractBlock]]:
    from hamfit.features.field import FieldBlock
    from hamfit.features.kinetic import KineticBlock
    from hamfit.features.manybody import ManyBodyBlock
    from hamfit.features.pair import PairBlock

    return {block.kind: block for block in (KineticBlock, PairBlock, ManyBodyBlock, FieldBlock)}


def blocks_to_store(blocks: Sequence[AbstractBlock]) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Attributes of each block, and all their arrays under ``features/<position>/``."""
    entries: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    for position, block in enumerate(blocks):
        attrs, own = block.to_store()
        entries.append({"kind": block.kind, **attrs})
        arrays |= nested(f"features/{position}", own)
    return entries, arrays


def blocks_from_store(
    entries: Sequence[Mapping[str, Any]], arrays: Mapping[str, np.ndarray]
) -> tuple[AbstractBlock, ...]:
    """The blocks that ``blocks_to_store`` described; StoreError for a kind this version does not know."""
    types = _block_types()
    blocks = []
    for position, entry in enumerate(entries):
        kind = str(entry["kind"])
        if kind not in types:
            raise StoreError(f"a block of kind {kind} is unknown here: update hamfit")
        attrs = {key: value for key, value in entry.items() if key != "kind"}
        blocks.append(types[kind].from_store(attrs, within(f"features/{position}", arrays)))
    return tuple(blocks)
