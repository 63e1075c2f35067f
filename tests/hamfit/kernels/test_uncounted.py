"""Kernels that are run for every particle count no references, and make no arrays."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher
from numba.core.errors import TypingError

from hamfit.features.manybody import ManyBodyBlock
from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph
from hamfit.inference import CompiledModel
from hamfit.integrators import VERLET
from hamfit.kernels import counting, density, pair_forces, pair_tables, stepping
from hamfit.kernels.uncounted import uncounted
from hamfit.model import Model
from worlds import CASES

MODULES = (pair_forces, pair_tables, density, stepping, counting)


def kernels(module: ModuleType) -> Iterator[tuple[str, Dispatcher]]:
    for name, found in vars(module).items():
        if isinstance(found, Dispatcher) and found.py_func.__module__ == module.__name__:
            yield f"{module.__name__.rsplit('.', 1)[-1]}.{name}", found


def sampled_density(frame: Frame) -> Model:
    graph = CutoffGraph(frame.labels, CASES[5].cutoffs)
    block = ManyBodyBlock.sample(
        [frame], graph, n_features=4, n_radial=1, n_bumps=4, l_max=0, rng=np.random.default_rng(0)
    )
    return Model(
        blocks=(block,),
        theta=(np.ones(block.n_columns),),
        constants=np.zeros(len(frame.labels)),
        labels=frame.labels,
        bond_labels=(),
        dim=frame.dim,
        units={},
        extents={},
    )


def test_what_is_said_to_count_no_references_counts_none() -> None:
    frame = CASES[5].frame()
    engine = CompiledModel(sampled_density(frame)).engine(frame, VERLET, 1e-3)
    engine.begin(frame.q, np.zeros_like(frame.q))
    engine.advance(1)
    counted = set()
    for module in MODULES:
        for name, kernel in kernels(module):
            if not kernel.targetoptions.get("_nrt", True):
                counted |= {name for text in kernel.inspect_llvm().values() if "@NRT_incref" in text}
    assert counted == set()
    compiled = {name for module in MODULES for name, kernel in kernels(module) if kernel.signatures}
    assert {"density.sum_chunk", "density.push_kept", "stepping.kick_and_drift", "pair_tables.law"} <= compiled


def test_a_kernel_that_makes_an_array_is_refused() -> None:
    @uncounted
    def kernel(n: int) -> float:
        return float(np.zeros(n).sum())

    with pytest.raises(TypingError, match="Only accept returning of array passed into the function"):
        kernel(3)
