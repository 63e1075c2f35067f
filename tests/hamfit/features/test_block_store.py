from __future__ import annotations

import json

import numpy as np
import pytest

import radial_oracle as oracle
from asking import rows_of
from hamfit.errors import StoreError
from hamfit.features.field import FieldBlock
from hamfit.features.kinetic import KineticBlock
from hamfit.features.manybody import ManyBodyBlock
from hamfit.features.pair import PairBlock
from hamfit.features.registry import blocks_from_store, blocks_to_store
from hamfit.graphs import CutoffGraph
from worlds import CASES

CASE = CASES[2]


def blocks_of_every_kind() -> tuple[KineticBlock, PairBlock, ManyBodyBlock, FieldBlock, PairBlock]:
    frame = CASE.frame()
    graph = CutoffGraph(("A", "B"), CASE.cutoffs)
    rng = np.random.default_rng(1)
    return (
        KineticBlock(oracle.random_radial(np.full(2, np.inf), taper="shift"), ("A", "B")),
        PairBlock(oracle.random_radial(np.array([1.9, 1.6, 1.3])), graph),
        ManyBodyBlock.sample([frame], graph, n_features=3, l_max=1, rng=rng),
        FieldBlock.sample([frame], n_features=3, sampler="elm", rng=rng),
        PairBlock(oracle.random_radial(np.array([1.9, 1.6, 1.3]), seed=9), graph),
    )


def test_blocks_of_every_kind_come_back_in_their_order_bit_for_bit() -> None:
    blocks = blocks_of_every_kind()
    entries, arrays = blocks_to_store(blocks)
    again = blocks_from_store(json.loads(json.dumps(entries)), arrays)
    frame = CASE.frame()
    assert [type(b) for b in again] == [type(b) for b in blocks]
    for old, new in zip(blocks, again, strict=True):
        assert rows_of(new, frame).tobytes() == rows_of(old, frame).tobytes()


def test_a_block_of_unknown_kind_is_refused() -> None:
    entries, arrays = blocks_to_store(blocks_of_every_kind())
    entries[1]["kind"] = "quantum"
    with pytest.raises(StoreError, match=r"no block is called quantum.* or update hamfit"):
        blocks_from_store(entries, arrays)
