"""Modules stand in an order: none needs, to be loaded, one that needs it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest

import hamfit
import hamfit_service


def modules_of(package: str, root: Path) -> dict[str, Path]:
    paths = {path: ".".join((package, *path.relative_to(root).with_suffix("").parts)) for path in root.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for path, name in paths.items()}


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """What is loaded with a module: not what is for types alone, nor what a function loads once it is called."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in known else str(node.module) for name in names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("package", [hamfit, hamfit_service], ids=lambda package: package.__name__)
def test_no_two_modules_need_each_other(package: ModuleType) -> None:
    known = modules_of(package.__name__, Path(str(package.__file__)).parent)
    needs = {name: {other for other in imported(path, known) if other in known} for name, path in known.items()}
    # a circle raises CycleError, which names its members
    assert len(tuple(TopologicalSorter(needs).static_order())) == len(known)
