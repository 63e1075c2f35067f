"""Which rooms of the library may not know of which others, as their imports say."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import hamfit

ROOT = Path(hamfit.__file__).parent

#: Each room, and those that it imports nothing from.
STRANGERS = {
    "rollouts": ("fitting",),
    "evaluation.py": ("fitting", "rollouts"),
    "inference": ("fitting", "rollouts"),
    "fitting": ("rollouts", "inference"),
    "data": ("fitting", "rollouts", "inference", "features"),
    "tasks": ("fitting", "rollouts", "features", "data"),
    "processes.py": ("fitting", "rollouts", "tasks", "data", "features"),
}


def imported(file: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it, for types alone included."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


@pytest.mark.parametrize("room", STRANGERS)
def test_a_room_imports_nothing_from_those_that_it_does_not_need(room: str) -> None:
    place = ROOT / room
    files = [place] if place.suffix == ".py" else sorted(place.rglob("*.py"))
    assert files
    forbidden = tuple(f"hamfit.{stranger}" for stranger in STRANGERS[room])
    found = {
        f"{file.relative_to(ROOT)}: {module}"
        for file in files
        for module in imported(file)
        if module in forbidden or module.startswith(tuple(f"{name}." for name in forbidden))
    }
    assert found == set()
