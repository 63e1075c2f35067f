"""Every kernel of the engines compiled once, before several processes want them (``kernels.warming``)."""

from __future__ import annotations

from functools import cache

import numpy as np

from hamfit.kernels.warming import compiling_alone


@cache
def warm_up_inference() -> None:
    """Compile, or load from the cache, every kernel that begins or advances a compiled engine.

    The engine of blocks steps in Python and its kernels are those of the fit (``fitting.warmup``).
    """
    with compiling_alone():
        _run_all()


def _run_all() -> None:
    from hamfit.features.block import AbstractBlock
    from hamfit.features.manybody import ManyBodyBlock
    from hamfit.features.pair import PairBlock
    from hamfit.features.radial import RadialFeatures
    from hamfit.frames import Frame
    from hamfit.graphs import AbstractGraph, AllPairsGraph, BondGraph, CutoffGraph
    from hamfit.inference.model import CompiledModel
    from hamfit.integrators import VERLET
    from hamfit.model import Model

    labels, one = ("1",), np.ones(1)
    q = np.array([[0.0, 0.0, 0.0], [1.0, 0.1, 0.0], [0.0, 1.1, 0.2], [0.9, 1.0, 1.2]])
    frame = Frame(
        q=q,
        species=np.zeros(4, dtype=np.int64),
        labels=labels,
        masses=np.ones(4),
        bonds=np.array([[0, 1], [1, 2]]),
        bond_types=np.zeros(2, dtype=np.int64),
        bond_labels=labels,
    )
    near = CutoffGraph(labels, np.array([[2.0]]))
    graphs: tuple[tuple[AbstractGraph, float], ...] = (
        (near, 2.0),
        (BondGraph(labels), np.inf),
        (AllPairsGraph(labels), np.inf),
    )
    blocks: list[AbstractBlock] = [
        PairBlock(
            RadialFeatures(
                ("r",), 0.5 * one, 2.0 * one, np.ones((1, 2)), np.zeros((1, 2)), np.array([cutoff]), ("shift",)
            ),
            graph,
        )
        for graph, cutoff in graphs
    ]
    # one density: the engine of embedded atoms
    blocks.append(
        ManyBodyBlock.sample(
            [frame], near, n_features=2, n_radial=1, n_bumps=3, l_max=0, rng=np.random.default_rng(0)
        )
    )
    for block in blocks:
        model = Model(
            blocks=(block,),
            theta=(np.ones(block.n_columns),),
            constants=np.zeros(1),
            labels=labels,
            bond_labels=labels,
            dim=3,
            units={},
            extents={"pair": np.array([[0.5, 2.0]])},
        )
        engine = CompiledModel(model).engine(frame, VERLET, 1e-3)
        engine.begin(q, np.zeros_like(q))
        engine.advance(1)
        engine.close()
