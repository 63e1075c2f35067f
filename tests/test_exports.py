from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from operator import attrgetter
from pathlib import Path

import pytest

import hamfit

HEAVY = (
    "numpy",
    "scipy",
    "numba",
    "dask",
    "distributed",
    "zarr",
    "ase",
    "vesin",
    "pydantic",
    "typer",
    "rich",
)


def _modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize("name", hamfit.__all__)
def test_every_exported_name_exists(name: str) -> None:
    assert getattr(hamfit, name) is not None
    assert name in dir(hamfit)


def test_the_list_of_exports_is_what_type_checkers_see() -> None:
    tree = ast.parse(Path(hamfit.__file__).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module for node in guarded.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert set(seen) == set(hamfit.__all__)
    for name, module in seen.items():
        assert module is not None
        assert getattr(importlib.import_module(module), name) is getattr(hamfit, name)


def test_a_name_that_is_not_exported_raises_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        attrgetter("fitt")(hamfit)


def test_importing_hamfit_loads_nothing_heavy() -> None:
    assert not _modules_after("import hamfit") & set(HEAVY)


def test_importing_the_command_line_loads_nothing_numerical() -> None:
    loaded = _modules_after("import hamfit_service.cli")
    assert not loaded & {"numpy", "scipy", "numba", "dask", "distributed", "zarr", "ase", "vesin"}


def test_only_tests_need_zarr() -> None:
    import hamfit_service

    for package in (hamfit, hamfit_service):
        for path in Path(str(package.__file__)).parent.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert "zarr" not in [name.partition(".")[0] for name in names], path


def test_the_library_never_imports_the_service() -> None:
    root = Path(hamfit.__file__).parent
    guilty = [str(path) for path in root.rglob("*.py") if "hamfit_service" in path.read_text(encoding="utf-8")]
    assert guilty == []


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert version("hamfit") == hamfit.__version__
