"""What a watcher reads of a rollout under way is what the finished rollout holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenes

from hamfit.errors import StoreError
from hamfit.rollouts import rollout, running, watching
from hamfit.rollouts.workspace import Workspace, workspace_of
from hamfit.stores import zarr_array
from hamfit.systems import simulate

HOW: dict[str, Any] = {"steps": 40, "dt": 0.01, "every": 4, "threads": 1, "checkpoint_seconds": 0.0}


@contextmanager
def cut(monkeypatch: pytest.MonkeyPatch, name: str, keeps: int) -> Iterator[None]:
    """Interrupt the rollout ``name`` at its checkpoint number ``keeps``, as a lost power would."""
    keep = running._Rollout.keep
    kept = {"n": 0}

    def keep_and_stop(self: Any) -> None:
        if self.name == name and kept["n"] >= keeps:
            raise KeyboardInterrupt
        keep(self)
        kept["n"] += self.name == name

    with monkeypatch.context() as patch:
        patch.setattr(running._Rollout, "keep", keep_and_stop)
        yield


def _lose_power(out: Path) -> None:
    scene = scenes.chain()
    with pytest.raises(KeyboardInterrupt):
        rollout(scene.model, scene.initial, out=out, **HOW)


def interrupted(out: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], Workspace]:
    """A batch of two, the first at its end and the second after five frames."""
    scene = scenes.chain()
    names = [f"{trajectory.name}-frame-0" for trajectory in scene.initial.trajectories]
    with cut(monkeypatch, names[1], 4):
        _lose_power(out)
    workspace = workspace_of(out)
    assert workspace is not None
    return names, workspace


@pytest.mark.parametrize("chunk_bytes", [None, 400], ids=["one-chunk", "many-chunks"])
def test_frames_of_a_running_rollout_are_those_of_the_finished_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int | None
) -> None:
    if chunk_bytes is not None:
        monkeypatch.setattr(zarr_array, "TARGET_CHUNK_BYTES", chunk_bytes)
    out = tmp_path / "run"
    names, workspace = interrupted(out, monkeypatch)
    seen = {name: watching.watched(workspace, name) for name in names}
    assert [seen[name].finished for name in names] == [True, False]
    assert [seen[name].n_frames for name in names] == [11, 5]
    assert [seen[name].step for name in names] == [40, 16]
    assert seen[names[0]].summary is not None
    early = {}
    for name in names:
        readable = watching.open_running(workspace, name)
        assert readable is not None
        assert readable.n_frames == seen[name].n_frames
        early[name] = readable.read(0, readable.n_frames), readable.read(1, 5, 3)
    scene = scenes.chain()
    rollout(scene.model, scene.initial, out=out, **HOW)
    assert workspace_of(out) is None
    for name, (whole, some) in early.items():
        readable = watching.open_published(out, name)
        assert readable is not None
        late = readable.read(0, readable.n_frames)
        assert late.keys() == whole.keys()
        for key in readable.series:
            np.testing.assert_array_equal(whole[key], late[key][: len(whole[key])])
            np.testing.assert_array_equal(some[key], late[key][1:5:3])
        for key in readable.fixed:
            np.testing.assert_array_equal(whole[key], late[key])


def test_all_that_will_be_is_known_before_it_has_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = scenes.chain()
    names = [f"{trajectory.name}-frame-0" for trajectory in scene.initial.trajectories]
    out = tmp_path / "run"
    with cut(monkeypatch, names[0], 1):
        _lose_power(out)
    workspace = workspace_of(out)
    assert workspace is not None
    assert list(workspace.begun()) == names[:1]
    known = watching.expected(workspace.home, scene.initial.path, "0", 1, None, 0)
    assert list(known) == names


def test_damage_is_told_and_never_read_as_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, workspace = interrupted(tmp_path / "run", monkeypatch)
    mass = workspace.store / names[1] / "particles/all/mass/c.0"
    content = bytearray(mass.read_bytes())
    content[3] ^= 1
    mass.write_bytes(content)
    with pytest.raises(StoreError, match="checksum"):
        watching.open_running(workspace, names[1])
    for chunk in workspace.checkpoint(names[1]).rglob("c.*"):
        chunk.write_bytes(b"")
    with pytest.raises(StoreError):
        watching.open_running(workspace, names[1])


def test_where_nothing_runs_there_is_no_workspace(tmp_path: Path) -> None:
    assert workspace_of(tmp_path / "run") is None


@pytest.mark.parametrize("step", [1, 7, 30, 64, 1_000_000])
@pytest.mark.parametrize("start", [0, 5, 99])
def test_rows_far_apart_are_read_a_chunk_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: int, step: int
) -> None:
    monkeypatch.setattr(zarr_array, "TARGET_CHUNK_BYTES", 400)
    data = simulate("spring", tmp_path / "data.zarr", shape="5", n_trajectories=1, n_frames=100, seed=1)
    name = data.trajectories[0].name
    readable = watching.open_published(data.path, name)
    assert readable is not None
    stored = readable.series["position"][0]
    assert stored is not None
    assert len(stored.entry.crc32c) == 10
    whole = stored.read()
    largest = [0]
    read = zarr_array.StoredArray.read

    def measured(self: Any, start: int = 0, stop: int | None = None) -> Any:
        found = read(self, start, stop)
        if self.entry.key == stored.entry.key:
            largest.append(len(found))
        return found

    monkeypatch.setattr(zarr_array.StoredArray, "read", measured)
    # the last rows lie in the checkpoint of a rollout under way
    both = replace(readable, series={"position": (_first(stored, 60), whole[60:])})
    for seen in (readable, both):
        np.testing.assert_array_equal(seen.read(start, 100, step)["position"], whole[start:100:step])
        np.testing.assert_array_equal(seen.read(start, start, step)["position"], whole[:0])
    assert max(largest) <= stored.entry.chunks[0]


def _first(stored: zarr_array.StoredArray, rows: int) -> zarr_array.StoredArray:
    """An array of the first rows only."""
    entry = stored.entry
    return replace(stored, entry=replace(entry, shape=(rows, *entry.shape[1:]), crc32c=entry.crc32c[: rows // 10]))
