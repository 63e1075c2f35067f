"""What a rollout leaves in the workspace when it has come to its end, or when its state was none to start from."""

from __future__ import annotations

import shutil
from typing import Any

from hamfit.data.manifest import arrays_from_json
from hamfit.errors import StoreError
from hamfit.rollouts.starts import InitialState
from hamfit.rollouts.workspace import Workspace
from hamfit.stores.zarr_array import StoredArray


def finished_rollout(workspace: Workspace, name: str) -> dict[str, Any] | None:
    """What a finished rollout left; None when it is not finished, or when files that it wrote are no longer whole."""
    done = workspace.finished(name)
    try:
        for entry in arrays_from_json(done["written"]["arrays"]).values() if done is not None else ():
            StoredArray(workspace.store, entry).check_files()
    except (StoreError, KeyError, TypeError, ValueError):
        return None
    return done


def not_begun(workspace: Workspace, state: InitialState, error: Exception) -> dict[str, Any]:
    """What is kept of a state that is none to start from: why; of its trajectory nothing."""
    shutil.rmtree(workspace.store / state.name, ignore_errors=True)
    summary = {
        **origin_of(state),
        **dict.fromkeys(("steps", "energy_drift", "momentum_drift", "outside", "pairs", "first_non_finite"), 0),
        "reason": str(error),
        "devices": [],
        "engines": [],
    }
    return {"summary": summary, "written": {"trajectories": [], "arrays": {}, "documents": {}}}


def origin_of(state: InitialState) -> dict[str, Any]:
    """What a summary says of where its rollout started."""
    return {
        "name": state.name,
        "trajectory": state.trajectory,
        "frame": state.frame_index,
        "replica": state.replica,
    }
