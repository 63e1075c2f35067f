"""Workspaces: where long work keeps what it has done until its result is whole and published.

    .OUT.KIND.lock        held by whoever works there
    .OUT.KIND/plan.json   fingerprint of the work, and the name of the folder beside it
              NAME/       what is done so far

A run that was killed leaves its workspace behind; the same work started again finds it by its fingerprint. NAME is new
wherever work begins anew: what an orphan of abandoned work still writes goes to a folder that nobody reads, or that is
gone, which fails: nothing that is written into a workspace makes one.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from hamfit.errors import StoreError
from hamfit.stores.disk import disk_errors, write_whole
from hamfit.stores.locks import locked
from hamfit.stores.replacing import remove


@dataclass(frozen=True, slots=True)
class Place:
    """The workspace beside a result, whether or not it is there."""

    out: Path
    """Where the result will be."""
    kind: str
    """What works there: a fit, a rollout."""

    @property
    def hidden(self) -> Path:
        """The hidden folder."""
        return self.out.with_name(f".{self.out.name}.{self.kind}")

    def held(self) -> AbstractContextManager[None]:
        """Be the only one who works there.

        The lock is another than that of the store ``out``, which the same process takes to publish. Raises StoreError
        when another process works there, DiskError when the place cannot be written.
        """
        return locked(self.out, self.hidden.with_name(f"{self.hidden.name}.lock"))

    def left(self) -> tuple[str, Path] | None:
        """Fingerprint and folder of the work that is there; None when there is none, or its note cannot be read."""
        try:
            note = json.loads((self.hidden / "plan.json").read_bytes())
            return str(note["fingerprint"]), self.hidden / note["folder"]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def claim(
        self, fingerprint: str, *, resume: bool, may_drop: bool = True, folders: Sequence[str] = ()
    ) -> tuple[Path, bool]:
        """The folder of this work, with ``folders`` in it, and whether it is that of an earlier run.

        What else is there is thrown away; without ``may_drop`` StoreError is raised when that is of other work. Raises
        DiskError when the place cannot be written.
        """
        known = self.left()
        if known is not None and known[0] == fingerprint:
            if resume and all((known[1] / folder).is_dir() for folder in ("", *folders)):
                return known[1], True
        elif known is not None and not may_drop:
            raise StoreError(
                f"{self.out}: an interrupted {self.kind} of another plan is there ({self.hidden.name}): repeat that"
                " plan to go on, choose another path, or ask to overwrite it"
            )
        self.remove()
        home = self.hidden / uuid.uuid4().hex[:12]
        with disk_errors(self.out):
            for folder in ("", *folders):
                (home / folder).mkdir(parents=True, exist_ok=True)
            note = {"fingerprint": fingerprint, "folder": home.name}
            write_whole(self.hidden / "plan.json", json.dumps(note).encode())
        return home, False

    def remove(self) -> None:
        """Remove the workspace, as far as that can be done."""
        gone = self.hidden.with_name(f"{self.hidden.name}.removed")
        remove(gone)
        # Under its old name an orphan might write into it, and keep it from becoming empty, while it is removed.
        with suppress(OSError):
            self.hidden.rename(gone)
        remove(gone)
        remove(self.hidden)
