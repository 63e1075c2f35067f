"""A real Postgres of a test's own, by the script that also serves small installations: deploy/local/postgres."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "deploy" / "local" / "postgres"


class Postgres:
    """A server that can be stopped and started; its URL stays the same."""

    def __init__(self) -> None:
        # not below pytest's folders: only their owner may enter those, and root's Postgres is another user
        self.folder = Path(tempfile.mkdtemp(prefix="hamfit-postgres-"))
        os.chmod(self.folder, 0o755)
        self.url = ""

    def start(self) -> None:
        """Start it, and return once it answers."""
        self.url = self._run("start", "--throwaway")

    def stop(self, *, now: bool = False) -> None:
        """Stop it; `now` as a loss of power does."""
        self._run("stop", *(["--now"] if now else []))

    def remove(self) -> None:
        """Stop it, and remove all it has."""
        self.stop(now=True)
        shutil.rmtree(self.folder)

    def _run(self, *words: str) -> str:
        command = [sys.executable, str(SCRIPT), words[0], str(self.folder), *words[1:]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()
