"""The workspace of a running rollout: a hidden folder beside the result, which becomes the result at the end.

    .TRAJ.rollout/NAME/model/         copy of the model
                       owner          token of the driver at work
                       store/         the dataset to be, written by all rollouts
                       checkpoints/   one bundle for each rollout under way
                       finished/      one JSON file for each rollout at its end
                       progress/      steps made by each rollout
                       locks/         one file for each rollout

Rollouts that an earlier driver left running see that the token is no longer theirs and end. Each rollout holds a lock
of its own while it writes. The rest is as `stores.workspaces` says.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from hamfit.bundles import nested, peek, read_bundle, within, write_bundle
from hamfit.data.units import Units
from hamfit.data.writer import DatasetWriter
from hamfit.errors import StoreError
from hamfit.model import Model
from hamfit.stores.disk import disk_errors, write_whole
from hamfit.stores.locks import try_lock
from hamfit.stores.publish import refuse_existing
from hamfit.stores.workspaces import Place

LEFT = "what was computed so far is kept, and repeating the rollout goes on from there"
"""What a failed write leaves."""

_PATIENCE_SECONDS = 0.2
_CHECKPOINT_SCHEMA = 1
_FOLDERS = ("store", "checkpoints", "finished", "progress", "locks")

Arrays: TypeAlias = Mapping[str, np.ndarray]
Written: TypeAlias = tuple[Mapping[str, Any], Arrays]
"""What `TrajectoryWriter.checkpoint` gives: attributes, and the rows not yet in chunks."""


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

    def writer(self, units: Units, model: Model, *, bonds: bool) -> DatasetWriter:
        """A writer of trajectories of the dataset to be, in the names of a model."""
        labels = model.bond_labels if bonds else ()
        writer = DatasetWriter.create(self.out, units=units, labels=model.labels, bond_labels=labels)
        return writer.below(self.store, LEFT)

    def begun(self) -> Sequence[str]:
        """Names of the rollouts that have begun, in alphabetical order."""
        names: set[str] = set()
        for folder, suffix in (("locks", ""), ("finished", ".json")):
            with suppress(OSError):  # the rollout ended this moment
                names.update(
                    entry.name.removesuffix(suffix)
                    for entry in (self.home / folder).iterdir()
                    if entry.name.endswith(suffix) and ".partial" not in entry.name
                )
        return sorted(names)

    def checkpoint(self, name: str) -> Path:
        """Bundle of a rollout under way."""
        return self.home / "checkpoints" / name

    def keep(self, name: str, step: int, written: Written, attrs: Mapping[str, Any], state: Arrays) -> None:
        """Write a checkpoint: a step, the trajectory as its writer has it, and whatever else a rollout needs.

        Raises StoreError when it cannot be written, or the workspace was removed.
        """
        writer, pending = written
        attrs, arrays = {**attrs, "step": step, "writer": writer}, {**state, **nested("pending", pending)}
        write_bundle(self.checkpoint(name), "checkpoint", _CHECKPOINT_SCHEMA, attrs, arrays, parents=False)

    def kept(self, name: str) -> tuple[int, Written, Mapping[str, Any], Arrays]:
        """What `keep` was given last; StoreError when there is no checkpoint, or it is damaged."""
        attrs, arrays = read_bundle(self.checkpoint(name), "checkpoint", _CHECKPOINT_SCHEMA)
        return int(attrs["step"]), (attrs["writer"], within("pending", arrays)), attrs, arrays

    def steps_and_frames(self, name: str) -> tuple[int, int]:
        """Steps made, at which a rollout would be taken up, and frames stored; 0 when no checkpoint can be read."""
        try:
            attrs = peek(self.checkpoint(name))
            return int(attrs["step"]), int(attrs["writer"]["n_frames"])
        except (StoreError, ValueError, KeyError, TypeError):
            return 0, 0

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
        with disk_errors(self.out, LEFT):
            write_whole(self.home / "finished" / f"{name}.json", json.dumps(result).encode())
        shutil.rmtree(self.checkpoint(name), ignore_errors=True)

    def tell(self, name: str, step: int) -> None:
        """Let the driver know how far a rollout has come; where that cannot be written it goes without."""
        with suppress(OSError):
            write_whole(self.home / "progress" / name, str(step).encode())

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
        with disk_errors(self.out, LEFT):
            write_whole(self.home / "proposed_dt", repr(dt).encode())

    def discard(self) -> None:
        """Remove all of it: there is nothing to go on with."""
        _place(self.out).remove()

    def take(self) -> None:
        """Make this the token of the workspace, and forget what rollouts told an earlier driver."""
        with disk_errors(self.out):
            write_whole(self.home / "owner", self.token.encode())
            for said in (self.home / "progress").iterdir():
                said.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Tell all rollouts to end at their next stop."""
        with suppress(OSError):
            write_whole(self.home / "owner", b"")

    @contextmanager
    def writing(self, name: str) -> Iterator[None]:
        """Hold the lock of one rollout; waits while an earlier run of it comes to its end.

        Raises Abandoned when the workspace belongs to another driver, or is gone; StoreError when it cannot be written.
        """
        self.check_owner()
        with disk_errors(self.out, LEFT):
            try:
                descriptor = os.open(self.home / "locks" / name, os.O_RDWR | os.O_CREAT, 0o644)
            except FileNotFoundError as error:
                raise Abandoned from error
        try:
            while not try_lock(descriptor):
                time.sleep(_PATIENCE_SECONDS)
                self.check_owner()
            self.check_owner()
            yield
        finally:
            os.close(descriptor)


@contextmanager
def opened(out: Path, fingerprint: str, *, resume: bool, overwrite: bool) -> Iterator[tuple[Workspace, bool]]:
    """The workspace for a result at ``out``, and whether it was taken up.

    Whoever has finished publishes its store and discards it.

    Raises StoreError when something is at ``out``, when another rollout is writing there, when what an interrupted one
    left is of another plan, or when the place cannot be written. With ``overwrite`` what is there is replaced, if it is
    a store.
    """
    place = _place(out)
    with place.held():
        # said now, not when all is computed
        refuse_existing(out, overwrite)
        home, found = place.claim(fingerprint, resume=resume, may_drop=overwrite, folders=_FOLDERS)
        workspace = Workspace(home, out, uuid.uuid4().hex)
        workspace.take()
        try:
            yield workspace, found
        except BaseException:
            workspace.abandon()
            raise


def workspace_of(out: Path) -> Workspace | None:
    """The workspace of a rollout that is to end at ``out``, for one who only looks; None when there is none."""
    left = _place(out).left()
    return None if left is None or not left[1].is_dir() else Workspace(left[1], out, "")


def _place(out: Path) -> Place:
    return Place(out, "rollout")
