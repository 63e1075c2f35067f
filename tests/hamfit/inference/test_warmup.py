from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from hamfit.inference import warmup
from hamfit.inference.warmup import warm_up_inference
from hamfit.kernels.warming import compiling_alone

#: A fresh process warms up, then runs engines on what a store gives, and tells which kernels were compiled since.
_SCRIPT = """
import sys
import numpy as np
from hamfit.data import Dataset
from hamfit.inference import CompiledModel
from hamfit.inference.warmup import warm_up_inference
from hamfit.integrators import INTEGRATORS
from hamfit.kernels import columns, density, listed, pair_forces, pair_tables, stepping
from hamfit.model import Model

def compiled():
    return {
        f"{module.__name__}.{name}": len(kernel.signatures)
        for module in (columns, density, listed, pair_forces, pair_tables, stepping)
        for name, kernel in vars(module).items()
        if hasattr(kernel, "signatures")
    }

warm_up_inference()
before = compiled()
# of pairs, and of densities
assert before["hamfit.kernels.stepping.advance"] == 2, before
model = Model.open(sys.argv[1])
frame = Dataset.open(sys.argv[2]).trajectories[0].frame(0)
frame.q.flags.writeable = frame.species.flags.writeable = False
for threads in (1, 2):
    for method in ("verlet", "kahanli8"):
        engine = CompiledModel(model).engine(frame, INTEGRATORS[method], 1e-3, threads=threads)
        assert "polynomial" in engine.description
        engine.begin(frame.q, frame.p)
        engine.advance(30)
        engine.begin(*engine.state())
        engine.close()
after = compiled()
print({name: (before[name], after[name]) for name in after if after[name] != before[name]})
"""


def test_nothing_is_left_to_compile_after_warming_up(binary_fit: object, tmp_path: Path) -> None:
    from worlds import liquids, write

    binary_fit.model.save(tmp_path / "a.model")
    write(tmp_path / "a.zarr", [liquids(2, 1, n_species=2)])
    paths = [str(tmp_path / name) for name in ("a.model", "a.zarr")]
    run = subprocess.run([sys.executable, "-c", _SCRIPT, *paths], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "{}"


def test_kernels_are_compiled_by_one_process_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    done = threading.Event()
    monkeypatch.setattr(warmup, "_run_all", done.set)
    descriptor = os.open(tmp_path / "hamfit-kernels.lock", os.O_WRONLY | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    waiting = threading.Thread(target=warm_up_inference.__wrapped__)
    waiting.start()
    assert not done.wait(0.2)
    os.close(descriptor)
    assert done.wait(30.0)
    waiting.join(30.0)


def test_without_a_place_for_a_lock_it_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with compiling_alone():
        pass


def test_an_error_while_compiling_lets_go_of_the_lock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ValueError, match="broken"), compiling_alone():
        raise ValueError("broken")
    descriptor = os.open(tmp_path / "hamfit-kernels.lock", os.O_WRONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
