"""The kernels are CUDA to NVIDIA's own compiler too, not only to g++ with our header."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from hamfit.devices.sources import FOLDER, signatures, source

NVCC = shutil.which("nvcc")


@pytest.mark.skipif(NVCC is None, reason="CUDA's compiler is not installed")
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_the_source_compiles_without_a_warning(tmp_path: Path, architecture: str) -> None:
    assert NVCC is not None
    (tmp_path / "kernels.cu").write_text(source())
    command = [NVCC, "-std=c++17", f"-arch={architecture}", "-ptx", "-Werror", "all-warnings", "kernels.cu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    compiled = (tmp_path / "kernels.ptx").read_text()
    assert {name for name in signatures() if f".entry {name}(" not in compiled} == set()


def test_the_source_needs_no_header() -> None:
    # CuPy compiles it with NVRTC, which has none of the system's
    assert "#include" not in source()


def test_names_are_unique_and_each_file_says_what_it_holds() -> None:
    kernels = [line for line in source().splitlines() if line.startswith('extern "C" __global__ void')]
    assert len(kernels) == len(signatures())
    assert all(path.read_text(encoding="utf-8").startswith("//") for path in FOLDER.glob("*.cu"))
