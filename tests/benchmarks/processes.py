"""Measurements that need a process of their own, whose memory nothing else has used."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.benchmarks.study import ROOT


def answer(script: str, *arguments: str) -> Any:
    """Run a Python script; returns the JSON on the last line that it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        check=True,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])
