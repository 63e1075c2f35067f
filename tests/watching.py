"""Waiting for what other processes do, and seeing whether they are gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psutil


async def until(true: Callable[[], Any] | Callable[[], Awaitable[Any]], seconds: float = 60.0) -> None:
    """Wait for a predicate."""
    deadline = time.monotonic() + seconds
    while True:
        found = true()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        assert time.monotonic() < deadline, "it did not become true"
        await asyncio.sleep(0.05)


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def all_gone(processes: list[psutil.Process]) -> bool:
    """Whether none of these lives; one that nobody has buried yet is dead all the same."""
    return not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
