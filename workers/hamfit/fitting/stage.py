"""One pass over shards: its basis, and the states that finished shards leave in the workspace.

A stored state is trusted only with the identity of the basis and the shard it was made of, so that a workspace left by
another plan, or by another version of the code that plans, is never mixed in. And it is stored only while its pass goes
on: tasks on workers may outlive the fit, and what they would write then is nobody's.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hamfit.bundles import fingerprint, read_bundle, write_bundle
from hamfit.devices import DeviceChoice, device_for
from hamfit.errors import FitError, StoreError
from hamfit.fitting.basis import Basis
from hamfit.fitting.partial import PartialState
from hamfit.fitting.shards import Shard
from hamfit.fitting.streaming import mean_particles, reduce_shard
from hamfit.stores.disk import disk_errors, write_whole

_BASIS_SCHEMA = 1
_STATE_SCHEMA = 1
#: File in the workspace that holds the token of the pass at work.
_OWNER = "owner"


@dataclass(frozen=True, slots=True)
class StoredBasis:
    """Where workers find the basis of a stage."""

    path: str
    """Path of the bundle."""
    digest: str
    """Digest of its manifest: another fit to the same place has another basis there."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A pass over shards: where its basis and its finished states are kept."""

    basis: Basis
    """What to reduce with."""
    name: str
    """Name of the pass, unique within the fit."""
    home: Path | None
    """Directory for the basis and the states; None keeps everything in memory."""
    device: DeviceChoice = "auto"
    """What computes the rows, as each process finds it."""
    keep_states: bool = True
    """Whether finished states are stored for a restart; not worth it for a pass of a second."""

    @property
    def basis_path(self) -> Path | None:
        """Where the basis is stored."""
        return None if self.home is None else self.home / f"{self.name}-basis"

    def store(self) -> None:
        """Store the basis for workers, and for a restarted fit, to read; a sound one that is there stays."""
        if self.basis_path is not None and stored_basis(self.home, self.name) is None:
            write_bundle(self.basis_path, "basis", _BASIS_SCHEMA, *self.basis.to_store(), parents=False)

    def stored(self) -> StoredBasis:
        """The stored basis; FitError where there is no directory for it."""
        if self.basis_path is None:
            raise FitError("a fit on a cluster needs a directory that all workers can read: give out=")
        return StoredBasis(str(self.basis_path), fingerprint(self.basis_path))

    @contextmanager
    def keeping(self) -> Iterator[Callable[[Shard], StateKeeper | None]]:
        """Where the state of each shard is kept (None where none is) while the block goes on, and not after it.

        From its beginning on, nothing is kept either of an earlier pass whose tasks go on without their driver.
        """
        if self.home is None or not self.keep_states:
            yield lambda shard: None
            return
        home, name, digest, token = self.home, self.name, self.stored().digest, uuid.uuid4().hex

        def keeper(shard: Shard) -> StateKeeper:
            identity = hashlib.sha256(f"{digest} {shard!r}".encode()).hexdigest()
            return StateKeeper(str(home / f"{name}-{shard.index:06d}"), identity, token)

        with disk_errors(home):
            write_whole(home / _OWNER, token.encode())
        try:
            yield keeper
        finally:
            # whoever cannot remove it has been told why by then, or will be
            with suppress(OSError):
                (home / _OWNER).unlink()


@dataclass(frozen=True, slots=True)
class StateKeeper:
    """The place of one shard's state in the workspace."""

    path: str
    """Path of the bundle."""
    identity: str
    """Digest of the basis and the shard."""
    token: str
    """Of the pass that it belongs to."""

    def load(self) -> PartialState | None:
        """The state, or None when it is not there, not whole, or of another basis or shard."""
        path = Path(self.path)
        if not path.exists():
            return None
        try:
            attrs, arrays = read_bundle(path, "state", _STATE_SCHEMA)
            return PartialState.from_store(attrs, arrays) if attrs.get("identity") == self.identity else None
        except (StoreError, KeyError, TypeError, ValueError):
            # a damaged state is worth no more than a missing one: the shard is computed again
            return None

    def save(self, state: PartialState) -> None:
        """Store the state, unless its pass has ended."""
        path = Path(self.path)
        try:
            owner = (path.parent / _OWNER).read_bytes()
        except OSError:
            # gone with its workspace, or not to be read: then nothing of ours can be written there either
            return
        if owner != self.token.encode():
            return
        attrs, arrays = state.to_store()
        identified = {**attrs, "identity": self.identity}
        write_bundle(path, "state", _STATE_SCHEMA, identified, arrays, parents=False)


def read_basis(path: Path) -> Basis:
    """Read a stored basis."""
    return Basis.from_store(*read_bundle(path, "basis", _BASIS_SCHEMA))


def stored_basis(home: Path | None, name: str) -> Basis | None:
    """The basis of a stage that an interrupted fit left in its workspace, if it got that far and is sound."""
    if home is None or not (home / f"{name}-basis").exists():
        return None
    try:
        return read_basis(home / f"{name}-basis")
    except (StoreError, KeyError, TypeError, ValueError):
        return None


def reduce_and_keep(shard: Shard, basis: Basis, keeper: StateKeeper | None, device: DeviceChoice) -> PartialState:
    """The state of a shard: read where an earlier run left it, else computed on the device chosen and stored."""
    found = None if keeper is None else keeper.load()
    if found is not None:
        return found
    state = reduce_shard(shard, basis, device_for(mean_particles(shard), device))
    if keeper is not None:
        keeper.save(state)
    return state
