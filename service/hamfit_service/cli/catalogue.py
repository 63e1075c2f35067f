"""All commands that compute, by the names of their processes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from hamfit_service.cli import data, evaluate, fit, rollout
from hamfit_service.cli.running import RunCommand

COMMANDS: Mapping[str, RunCommand] = MappingProxyType(
    {command.name: command for command in (data.SIMULATE, data.INGEST, fit.FIT, rollout.ROLLOUT, evaluate.EVALUATE)}
)
"""In the order in which they are used."""
