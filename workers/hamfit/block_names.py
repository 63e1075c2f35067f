"""Names of blocks, known without loading anything numerical: options are checked before any block is wanted."""

from __future__ import annotations

BUILT_IN: tuple[str, ...] = ("kinetic", "pair", "manybody", "field")
"""Blocks of hamfit itself."""
DEFAULT: tuple[str, ...] = ("kinetic", "pair")
"""Blocks of a fit that names none."""
WITHOUT_VELOCITIES: tuple[str, ...] = ("pair",)
"""The same for data without velocities."""
GROUP = "hamfit.blocks"
"""Entry points by which other packages offer blocks."""


def is_offered(name: str) -> bool:
    """Whether a block of this name is hamfit's own or offered by a package that is installed."""
    if name in BUILT_IN:
        return True
    from importlib.metadata import entry_points

    return any(entry.name == name for entry in entry_points(group=GROUP))
