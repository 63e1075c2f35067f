"""Learn the Hamiltonian of a particle system from its trajectories in one linear solve.

The names below are loaded on first use (PEP 562): `import hamfit` alone costs a few milliseconds and pulls in
neither NumPy nor Dask, so that `hamfit --help` answers at once and a Dask worker pays only for what its tasks
touch. The functions live in modules of other names (`fitting`, `evaluation`), so that no submodule can shadow
them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hamfit.data import Dataset, ingest
    from hamfit.errors import HamfitError
    from hamfit.evaluation import evaluate
    from hamfit.fitting import fit, plan
    from hamfit.model import Model
    from hamfit.options import FitOptions
    from hamfit.rollouts import rollout
    from hamfit.rollouts.options import RolloutOptions
    from hamfit.systems import simulate

__version__ = "0.1.0"

__all__ = [
    "Dataset",
    "FitOptions",
    "HamfitError",
    "Model",
    "RolloutOptions",
    "evaluate",
    "fit",
    "ingest",
    "plan",
    "rollout",
    "simulate",
]

_HOME = {
    "Dataset": "hamfit.data",
    "FitOptions": "hamfit.options",
    "HamfitError": "hamfit.errors",
    "Model": "hamfit.model",
    "evaluate": "hamfit.evaluation",
    "fit": "hamfit.fitting",
    "ingest": "hamfit.data",
    "plan": "hamfit.fitting",
    "RolloutOptions": "hamfit.rollouts.options",
    "rollout": "hamfit.rollouts",
    "simulate": "hamfit.systems",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
