"""All processes by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from hamfit.errors import SpecError
from hamfit_service.processes.evaluate import EVALUATE
from hamfit_service.processes.fit import FIT
from hamfit_service.processes.ingest import INGEST
from hamfit_service.processes.process import Process
from hamfit_service.processes.rollout import ROLLOUT
from hamfit_service.processes.simulate import SIMULATE

PROCESSES: Mapping[str, Process] = MappingProxyType(
    {process.name: process for process in (FIT, ROLLOUT, EVALUATE, INGEST, SIMULATE)}
)
"""Every process."""


def find_process(name: str) -> Process:
    """The process of this name; SpecError when there is none."""
    if name not in PROCESSES:
        raise SpecError(f"process '{name}' is unknown; use one of {', '.join(PROCESSES)}")
    return PROCESSES[name]
