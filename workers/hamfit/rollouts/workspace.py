"""The workspace of a running rollout: a hidden folder beside the result, which becomes the result at the end.

    .TRAJ.rollout/plan.json        fingerprint of the plan, and the name of the folder beside it
                  NAME/model/      copy of the model
                       owner       token of the driver at work
                       store/      the dataset to be, written by all rollouts
                       checkpoints/   one bundle for each rollout under way
                       finished/      one JSON file for each rollout at its end
                       progress/      steps made by each rollout
                       locks/         one file for each rollout

Only one driver works on it (a lock beside it), and rollouts that an earlier driver left running see that the token is
no longer theirs and end. Each rollout holds a lock of its own while it writes. NAME is new wherever work begins anew:
what an orphan of abandoned work still writes goes to a folder that nobody reads.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hamfit.errors import StoreError
from hamfit.stores.publish import NOTHING_KEPT, locked, publish_folder, raise_store_error, refuse_existing
from hamfit.stores.zarr_array import write_bytes

LEFT = "what was computed so far is kept, and repeating the rollout goes on from there"
"""What a failed write leaves."""

_PATIENCE_SECONDS = 0.2
_FOLDERS = ("store", "checkpoints", "finished", "progress", "locks")


class Abandoned(Exception):
    """Another driver owns the workspace now, or this one has given up."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where a rollout keeps what it has done; pickles as its paths."""

    home: Path
    """The folder of this work in the hidden one."""
    out: Path
    """Where the result will be."""
    token: str
    """Token of the driver it belongs to."""

    @property
    def store(self) -> Path:
        """The dataset to be."""
        return self.home / "store"

    @property
    def model(self) -> Path:
        """Copy of the model."""
        return self.home / "model"

    def checkpoint(self, name: str) -> Path:
        """Bundle of a rollout under way."""
        return self.home / "checkpoints" / name

    def checkpointed(self, name: str) -> int:
        """The step at which a rollout would be taken up, as its checkpoint says; 0 when there is none to be read."""
        try:
            return int(json.loads((self.checkpoint(name) / "zarr.json").read_bytes())["attributes"]["step"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def finished(self, name: str) -> dict[str, Any] | None:
        """What a finished rollout left; None when it has not come to its end, or what it left is damaged."""
        path = self.home / "finished" / f"{name}.json"
        try:
            result: dict[str, Any] = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):
            # a rollout that is run again gives the same
            return None
        except OSError as error:
            raise StoreError(f"{path} cannot be read ({error.strerror}): see to its rights and its disk") from error
        return result

    def finish(self, name: str, result: dict[str, Any]) -> None:
        """Keep the result of a rollout, and drop its checkpoint."""
        try:
            _write_whole(self.home / "finished" / f"{name}.json", json.dumps(result).encode())
        except OSError as error:
            raise_store_error(error, self.out, LEFT)
        shutil.rmtree(self.checkpoint(name), ignore_errors=True)

    def tell(self, name: str, step: int) -> None:
        """Let the driver know how far a rollout has come; where that cannot be written it goes without."""
        with suppress(OSError):
            _write_whole(self.home / "progress" / name, str(step).encode())

    def told(self, name: str) -> int | None:
        """Steps that a rollout has made, as it last said under this driver; None before it has said so."""
        try:
            return int((self.home / "progress" / name).read_bytes())
        except (OSError, ValueError):
            return None

    def check_owner(self) -> None:
        """Raises Abandoned when the token in the workspace is no longer this one."""
        try:
            current = (self.home / "owner").read_text(encoding="utf-8")
        except OSError:
            current = ""
        if current != self.token:
            raise Abandoned

    def proposed_dt(self) -> float | None:
        """The step that was proposed when the workspace was new; None when there was none."""
        try:
            return float((self.home / "proposed_dt").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def keep_proposed_dt(self, dt: float) -> None:
        """Remember a proposed step, so that nobody proposes it again."""
        _write_whole(self.home / "proposed_dt", repr(dt).encode())

    def discard(self) -> None:
        """Remove all of it: there is nothing to go on with."""
        shutil.rmtree(_hidden(self.out), ignore_errors=True)

    def take(self) -> None:
        """Make this the token of the workspace, and forget what rollouts told an earlier driver."""
        _write_whole(self.home / "owner", self.token.encode())
        for said in (self.home / "progress").iterdir():
            said.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Tell all rollouts to end at their next stop."""
        with suppress(OSError):
            _write_whole(self.home / "owner", b"")

    @contextmanager
    def writing(self, name: str) -> Iterator[None]:
        """Hold the lock of one rollout; waits while an earlier run of it comes to its end.

        Raises Abandoned when the workspace belongs to another driver, or is gone; StoreError when it cannot be written.
        """
        self.check_owner()
        try:
            descriptor = os.open(self.home / "locks" / name, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError as error:
            raise Abandoned from error
        except OSError as error:
            raise_store_error(error, self.out, LEFT)
        try:
            while True:
                self.check_owner()
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(_PATIENCE_SECONDS)
            yield
        finally:
            os.close(descriptor)


@contextmanager
def opened(out: Path, fingerprint: str, *, resume: bool, overwrite: bool) -> Iterator[tuple[Workspace, bool]]:
    """The workspace for a result at ``out``, and whether it was taken up; published and removed by `publish`.

    Raises StoreError when something is at ``out``, when another rollout is writing there, when what an interrupted one
    left is of another plan, or when the place cannot be written. With ``overwrite`` what is there is replaced, if it is
    a store.
    """
    left = NOTHING_KEPT
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with locked(out, out.with_name(f".{out.name}.rollout.lock")):
            # said now, not when all is computed
            refuse_existing(out, overwrite)
            home, found = _claim(_hidden(out), out, fingerprint, resume=resume, overwrite=overwrite)
            workspace = Workspace(home, out, uuid.uuid4().hex)
            workspace.take()
            left = LEFT
            try:
                yield workspace, found
            except BaseException:
                workspace.abandon()
                raise
    except OSError as error:
        raise_store_error(error, out, left)


def _hidden(out: Path) -> Path:
    return out.with_name(f".{out.name}.rollout")


def _claim(hidden: Path, out: Path, fingerprint: str, *, resume: bool, overwrite: bool) -> tuple[Path, bool]:
    note = hidden / "plan.json"
    if hidden.exists():
        try:
            known = json.loads(note.read_bytes())
            home, plan = hidden / known["folder"], known["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError):
            home, plan = hidden, None
        if resume and plan == fingerprint and all((home / folder).is_dir() for folder in _FOLDERS):
            return home, True
        if plan not in (None, fingerprint) and not overwrite:
            raise StoreError(
                f"{out}: an interrupted rollout of another plan is there ({hidden.name}): repeat that plan to go on,"
                " choose another path, or ask to overwrite it"
            )
        # an orphan may be writing to it: what it makes there meanwhile is left for `publish`
        shutil.rmtree(hidden, ignore_errors=True)
    home = hidden / uuid.uuid4().hex[:12]
    for folder in _FOLDERS:
        (home / folder).mkdir(parents=True)
    _write_whole(note, json.dumps({"fingerprint": fingerprint, "folder": home.name}).encode())
    return home, False


def publish(workspace: Workspace, *, overwrite: bool) -> None:
    """Put the finished store in its place and remove the rest."""
    publish_folder(workspace.store, workspace.out, overwrite=overwrite)
    shutil.rmtree(_hidden(workspace.out), ignore_errors=True)


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file that is either whole or not there."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    write_bytes(partial, content)
    partial.replace(path)
