"""Every kernel of the fit compiled once, before several processes want them (``kernels.warming``)."""

from __future__ import annotations

from functools import cache

import numpy as np

from hamfit.kernels.warming import compiling_alone


@cache
def warm_up(*, manybody: bool) -> None:
    """Compile, or load from the cache, every kernel that a shard needs; those of the many-body block on request."""
    with compiling_alone():
        _run_all(manybody)


def _run_all(manybody: bool) -> None:
    from hamfit.features.curves import RadialCurve
    from hamfit.features.kinetic import KineticBlock
    from hamfit.features.pair import PairBlock
    from hamfit.features.radial import RadialFeatures
    from hamfit.features.tables import build_table
    from hamfit.frames import Frame
    from hamfit.graphs import AllPairsGraph, BondGraph, CutoffGraph
    from hamfit.kernels.cpu import widen_extent

    labels = ("1",)
    q = np.array([[0.0, 0.0, 0.0], [1.0, 0.1, 0.0], [0.0, 1.1, 0.2], [0.9, 1.0, 1.2]])
    frame = Frame(
        q=q,
        species=np.zeros(4, dtype=np.int64),
        labels=labels,
        masses=np.ones(4),
        box=5.0 * np.eye(3),
        periodic=(True, True, True),
        p=1.0 + 0.1 * q,
        bonds=np.array([[0, 1], [1, 2]]),
        bond_types=np.zeros(2, dtype=np.int64),
        bond_labels=labels,
    )
    one = np.ones(1)
    radial = RadialFeatures(("r",), 0.5 * one, 2.0 * one, np.ones((1, 2)), np.zeros((1, 2)), 2.0 * one, ("shift",))
    centres = np.arange(4, dtype=np.int64)
    extent = np.array([[0.5, 2.0]])
    table = build_table(radial, extent, np.eye(4), np.ones(4))
    for graph in (CutoffGraph(labels, np.array([[2.0]])), BondGraph(labels)):
        block = PairBlock(radial, graph)
        edges = block.prepare(frame).edges(centres)
        block.rows_of_edges(edges, 3)
        table.fill(edges, 3, 0, np.zeros((12, table.n_local)), extent)
        widen_extent(edges.distance, edges.channel, extent)
    block.follow(frame, RadialCurve(radial, np.ones(4), build_table(radial, extent, np.ones((4, 1)), one)))
    KineticBlock(radial, labels).rows(frame, centres)
    open_frame = Frame(q=q, species=frame.species, labels=labels, masses=frame.masses)
    AllPairsGraph(labels).prepare(open_frame).edges(centres)
    if manybody:
        from hamfit.features.manybody import ManyBodyBlock

        rng = np.random.default_rng(0)
        reach = CutoffGraph(labels, np.array([[2.0]]))
        environments = ManyBodyBlock.sample([frame], reach, n_features=2, n_radial=2, n_bumps=3, rng=rng)
        environments.rows(frame, centres)
        environments.gradient(frame, np.ones(environments.n_columns))
