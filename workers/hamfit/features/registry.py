"""Every kind of block by its name: hamfit's own, and those of other packages.

A package offers a block by an entry point in the group ``hamfit.blocks`` whose name is the block's ``kind``. Names are
looked up without importing anything; a block is imported when it is asked for, or found in a store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np

from hamfit.block_names import BUILT_IN, GROUP
from hamfit.bundles import nested, within
from hamfit.errors import SpecError, StoreError
from hamfit.features.block import AbstractBlock

_MODULES = {
    "kinetic": "hamfit.features.kinetic:KineticBlock",
    "pair": "hamfit.features.pair:PairBlock",
    "manybody": "hamfit.features.manybody:ManyBodyBlock",
    "field": "hamfit.features.field:FieldBlock",
}
assert tuple(_MODULES) == BUILT_IN


@cache
def block_type(kind: str) -> type[AbstractBlock]:
    """The block called ``kind``. SpecError when nobody offers it, two packages do, or it cannot be loaded."""
    if kind in _MODULES:
        module, name = _MODULES[kind].split(":")
        built_in: type[AbstractBlock] = getattr(import_module(module), name)
        return built_in
    offered: Sequence[EntryPoint] = [entry for entry in entry_points(group=GROUP) if entry.name == kind]
    if not offered:
        raise SpecError(f"no block is called {kind}: use {', '.join(BUILT_IN)}, or install the package that offers it")
    if len({entry.value for entry in offered}) > 1:
        places = " and ".join(sorted({entry.value for entry in offered}))
        raise SpecError(f"two packages offer a block called {kind} ({places}): remove one of them")
    try:
        found = offered[0].load()
    except Exception as error:
        raise SpecError(
            f"the block {kind} cannot be loaded from {offered[0].value} ({type(error).__name__}: {error}): mend or"
            " remove the package that offers it"
        ) from error
    if not (isinstance(found, type) and issubclass(found, AbstractBlock) and found.kind == kind):
        raise SpecError(
            f"{offered[0].value} is offered as a block called {kind} and is none: it must be a subclass of"
            " hamfit.features.block.AbstractBlock with that kind"
        )
    return found


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
    """The blocks that ``blocks_to_store`` described; StoreError for a kind that nobody offers here."""
    blocks = []
    for position, entry in enumerate(entries):
        attrs = {key: value for key, value in entry.items() if key != "kind"}
        try:
            found = block_type(str(entry["kind"]))
        except SpecError as error:
            raise StoreError(f"a stored block cannot be read: {error}, or update hamfit") from error
        blocks.append(found.from_store(attrs, within(f"features/{position}", arrays)))
    return tuple(blocks)
