"""The workspace of a running rollout: a hidden folder beside the result, which becomes the result at the end.

    .TRAJ.rollout/plan.json        fingerprint of the plan
                  model/           copy of the model
                  owner            token of the driver at work
                  store/           the dataset to be, written by all rollouts
                  checkpoints/     one bundle for each rollout under way
                  finished/        one JSON file for each rollout at its end
                  progress/        steps made by each rollout

Only one driver works on it (a lock beside it), and rollouts that an earlier driver left running see that the token is
no longer theirs and end. Each rollout holds a lock of its own while it writes.
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
from hamfit.stores.publish import locked, publish_folder, raise_store_error
from hamfit.stores.zarr_array import write_bytes

_PATIENCE_SECONDS = 0.2


class Abandoned(Exception):
    """Another driver owns the workspace now, or this one has given up."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where a rollout keeps what it has done; pickles as its paths."""

    home: Path
    """The hidden folder."""
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

    def finished(self, name: str) -> dict[str, Any] | None:
        """What a finished rollout left; None when it has not come to its end."""
        path = self.home / "finished" / f"{name}.json"
        try:
            result: dict[str, Any] = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read ({error}): remove it, and the rollout is run again") from error
        return result

    def finish(self, name: str, result: dict[str, Any]) -> None:
        """Keep the result of a rollout, and drop its checkpoint."""
        _write_whole(self.home / "finished" / f"{name}.json", json.dumps(result).encode())
        shutil.rmtree(self.checkpoint(name), ignore_errors=True)

    def tell(self, name: str, step: int) -> None:
        """Let the driver know how far a rollout has come."""
        _write_whole(self.home / "progress" / name, str(step).encode())

    def told(self, name: str) -> int:
        """Steps that a rollout has made, as far as is known."""
        try:
            return int((self.home / "progress" / name).read_bytes())
        except (OSError, ValueError):
            return 0

    def check_owner(self) -> None:
        """Raises Abandoned when the token in the workspace is no longer this one."""
        try:
            current = (self.home / "owner").read_text(encoding="utf-8")
        except OSError:
            current = ""
        if current != self.token:
            raise Abandoned

    def take(self) -> None:
        """Make this the token of the workspace."""
        _write_whole(self.home / "owner", self.token.encode())

    def abandon(self) -> None:
        """Tell all rollouts to end at their next stop."""
        with suppress(OSError):
            _write_whole(self.home / "owner", b"")

    @contextmanager
    def writing(self, name: str) -> Iterator[None]:
        """Hold the lock of one rollout; waits while an earlier run of it comes to its end."""
        descriptor = os.open(self.home / "locks" / name, os.O_RDWR | os.O_CREAT, 0o644)
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
    left is of another plan, or when the place cannot be written. With ``overwrite`` what is there is replaced.
    """
    home = out.with_name(f".{out.name}.rollout")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with locked(out, out.with_name(f".{out.name}.rollout.lock")):
            if out.exists() and not overwrite:
                raise StoreError(f"{out}: something is there already: choose another path or ask to overwrite it")
            found = _claim(home, out, fingerprint, resume=resume, overwrite=overwrite)
            workspace = Workspace(home, out, uuid.uuid4().hex)
            workspace.take()
            try:
                yield workspace, found
            except BaseException:
                workspace.abandon()
                raise
    except OSError as error:
        raise_store_error(error, out)


def _claim(home: Path, out: Path, fingerprint: str, *, resume: bool, overwrite: bool) -> bool:
    note = home / "plan.json"
    if home.exists():
        try:
            known = json.loads(note.read_bytes())["fingerprint"]
        except (OSError, ValueError, KeyError):
            known = None
        if resume and known == fingerprint:
            return True
        if known not in (None, fingerprint) and not overwrite:
            raise StoreError(
                f"{out}: an interrupted rollout of another plan is there ({home.name}): repeat that plan to go on,"
                " choose another path, or ask to overwrite it"
            )
        shutil.rmtree(home)
    for folder in ("store", "checkpoints", "finished", "progress", "locks"):
        (home / folder).mkdir(parents=True)
    _write_whole(note, json.dumps({"fingerprint": fingerprint}).encode())
    return False


def publish(workspace: Workspace, *, overwrite: bool) -> None:
    """Put the finished store in its place and remove the rest."""
    publish_folder(workspace.store, workspace.out, overwrite=overwrite)
    shutil.rmtree(workspace.home, ignore_errors=True)


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file that is either whole or not there."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    write_bytes(partial, content)
    partial.replace(path)
