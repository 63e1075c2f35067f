"""What can be asked for: one module for each process, with its inputs and how it is run.

The command line runs these here, a service runs them as jobs; both read the same inputs.
"""

from __future__ import annotations

from hamfit_service.processes.catalogue import PROCESSES, find_process
from hamfit_service.processes.process import AbstractInputs, Outputs, Process, Resolver, Workplace, job_percent

__all__ = [
    "PROCESSES",
    "AbstractInputs",
    "Outputs",
    "Process",
    "Resolver",
    "Workplace",
    "find_process",
    "job_percent",
]
