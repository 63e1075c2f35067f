from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamfit.devices import AbstractDevice, DeviceArray, DeviceChoice
from hamfit.devices.emulated import EmulatedDevice
from hamfit.fitting import partial
from hamfit.fitting.merging import MergeTree
from hamfit.fitting.partial import PartialState, merge_partial
from hamfit.fitting.shards import Shard
from hamfit.reductions import LARGE_STATE_BYTES, Gram, Tsqr, tsqr
from hamfit.reductions.factors import device_factor

REDUCTIONS = {"force": Tsqr(3), "energy": Gram(2)}


def state_of(seed: int, rows: int = 20) -> PartialState:
    rng = np.random.default_rng(seed)
    triangles = {}
    for name, reduction in REDUCTIONS.items():
        accumulator = reduction.accumulator()
        accumulator.absorb(rng.normal(size=(rows, reduction.n_columns + 1)))
        triangles[name] = accumulator.state()
    low = rng.uniform(0.1, 1.0, 2)
    return PartialState(
        triangles,
        {"force": float(rng.uniform()), "energy": float(rng.uniform())},
        {"pair": np.column_stack([low, low + 1.0])},
        outside={"force": int(rng.integers(1, 9)), "energy": int(rng.integers(1, 9))},
        seconds=float(rng.uniform()),
        peak_bytes=int(rng.integers(1, 10**9)),
    )


def bits(state: PartialState) -> bytes:
    return b"".join(t.packed.tobytes() for t in state.triangles.values()) + state.extents["pair"].tobytes()


def test_a_state_survives_its_store_bit_for_bit() -> None:
    state = state_of(1)
    attrs, arrays = state.to_store()
    again = PartialState.from_store(json.loads(json.dumps(attrs)), arrays)
    assert bits(again) == bits(state)
    assert (again.squares, again.outside, again.seconds, again.peak_bytes) == (
        state.squares,
        state.outside,
        state.seconds,
        state.peak_bytes,
    )
    assert again.n_rows == state.n_rows == 40


def test_merging_adds_what_adds_and_widens_what_widens() -> None:
    first, second = state_of(1), state_of(2)
    merged = merge_partial(REDUCTIONS, first, second)
    assert merged.n_rows == 80
    assert merged.squares["force"] == first.squares["force"] + second.squares["force"]
    assert merged.outside == {name: first.outside[name] + second.outside[name] for name in ("force", "energy")}
    assert merged.seconds == first.seconds + second.seconds
    assert merged.peak_bytes == max(first.peak_bytes, second.peak_bytes)
    for end, choose in ((0, np.minimum), (1, np.maximum)):
        expected = choose(first.extents["pair"][:, end], second.extents["pair"][:, end])
        np.testing.assert_array_equal(merged.extents["pair"][:, end], expected)


NAME = EmulatedDevice.name


class Joins:
    """Counts the R factors that are joined on a device."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, large: bool = True) -> None:
        self.count = 0
        if large:
            monkeypatch.setattr(tsqr, "LARGE_STATE_BYTES", 0)
        monkeypatch.setattr(tsqr, "device_factor", self._join)
        # what a process would take by itself, for systems of any size
        monkeypatch.setenv("HAMFIT_DEVICE", "emulated")

    def _join(self, device: AbstractDevice, rows: DeviceArray) -> DeviceArray:
        self.count += 1
        return device_factor(device, rows)


@pytest.mark.parametrize(
    ("first", "second", "choice", "joined"),
    [
        ((NAME,), (NAME,), "auto", 1),
        ((), (NAME,), "emulated", 1),
        # rows too few for a device
        ((), (), "auto", 0),
        # of another device, on another worker
        (("Abacus 100",), (), "auto", 0),
        ((NAME,), (NAME,), "cpu", 0),
    ],
)
def test_large_factors_are_joined_where_rows_were_computed(
    monkeypatch: pytest.MonkeyPatch,
    first: tuple[str, ...],
    second: tuple[str, ...],
    choice: DeviceChoice,
    joined: int,
) -> None:
    joins = Joins(monkeypatch)
    left, right = replace(state_of(1), devices=first), replace(state_of(2), devices=second)
    merged = merge_partial(REDUCTIONS, left, right, choice)
    assert joins.count == joined
    assert merged.devices == tuple(sorted({*first, *second}))
    assert merged.notes == ()
    expected = merge_partial(REDUCTIONS, state_of(1), state_of(2))
    for name, triangle in expected.triangles.items():
        np.testing.assert_allclose(merged.triangles[name].packed, triangle.packed, rtol=1e-12, atol=1e-12)


def test_small_states_do_not_ask_for_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    joins = Joins(monkeypatch, large=False)
    monkeypatch.setattr(partial, "choose_device", lambda choice: pytest.fail("asked for one"))
    left, right = (replace(state_of(seed), devices=(NAME,)) for seed in (1, 2))
    merged = merge_partial(REDUCTIONS, left, right, "auto")
    assert bits(merged) == bits(merge_partial(REDUCTIONS, state_of(1), state_of(2)))
    assert joins.count == 0


def test_what_a_driver_merges_is_too_small_for_a_device() -> None:
    large = next(k for k in range(1, 5000) if Tsqr(k).joins_on_device)
    assert Tsqr(large - 1).state_bytes < LARGE_STATE_BYTES <= Tsqr(large).state_bytes
    assert not Gram(large).joins_on_device


class Full(EmulatedDevice):
    """A device without room for anything."""

    def upload(self, array: np.ndarray) -> DeviceArray:
        raise MemoryError("full")


def test_where_a_device_has_no_room_the_processor_joins_which_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    joins = Joins(monkeypatch)
    monkeypatch.setattr(partial, "choose_device", lambda choice: Full())
    left, right = (replace(state_of(seed), devices=(NAME,)) for seed in (1, 2))
    merged = merge_partial(REDUCTIONS, left, right, "auto")
    assert joins.count == 0
    assert bits(merged) == bits(merge_partial(REDUCTIONS, state_of(1), state_of(2)))
    (note,) = merged.notes
    assert note.startswith(f"{NAME} ran out of memory: the processor joined")


def shards_of(groups: Sequence[int]) -> list[Shard]:
    return [Shard(index, group, ()) for index, group in enumerate(groups)]


def climb(shards: Sequence[Shard], order: Sequence[int]) -> dict[int, str]:
    """Finish the shards in ``order``; states are formulas that tell how they were merged."""
    tree = MergeTree(shards)
    for index in order:
        merge = tree.add_leaf(shards[index], str(index))
        while merge is not None:
            node, left, right = merge
            merge = tree.add(node, f"({left}+{right})")
    return tree.roots


@given(groups=st.lists(st.integers(0, 3), min_size=1, max_size=17), seed=st.integers(0, 999))
def test_any_order_of_finishing_gives_the_same_merges(groups: list[int], seed: int) -> None:
    shards = shards_of(groups)
    expected = climb(shards, range(len(shards)))
    order = np.random.default_rng(seed).permutation(len(shards))
    assert climb(shards, [int(k) for k in order]) == expected
    # every shard of a group is in its root, in the order of the plan
    for group, formula in expected.items():
        members = [int(x) for x in formula.replace("(", "").replace(")", "").split("+")]
        assert members == [s.index for s in shards if s.group == group]
    assert sorted(expected) == sorted(set(groups))


def test_merges_that_finish_late_do_not_change_the_tree() -> None:
    shards = shards_of([0] * 6)
    expected = climb(shards, range(6))
    # all leaves first, then the merges from the last to the first
    tree = MergeTree(shards)
    pending = [m for m in (tree.add_leaf(s, str(s.index)) for s in shards) if m is not None]
    while pending:
        node, left, right = pending.pop()
        following = tree.add(node, f"({left}+{right})")
        if following is not None:
            pending.append(following)
    assert tree.roots == expected


@pytest.mark.parametrize(
    ("count", "formula"),
    [(1, "0"), (2, "(0+1)"), (3, "((0+1)+2)"), (5, "(((0+1)+(2+3))+4)"), (6, "(((0+1)+(2+3))+(4+5))")],
)
def test_the_tree_is_the_documented_one(count: int, formula: str) -> None:
    assert climb(shards_of([4] * count), range(count)) == {4: formula}


def test_numbers_merged_in_any_order_have_the_same_bits() -> None:
    shards = shards_of([0, 1] * 5)
    states = [state_of(k) for k in range(10)]

    def run(order: Sequence[int]) -> list[bytes]:
        tree = MergeTree(shards)
        for index in order:
            merge = tree.add_leaf(shards[index], states[index])
            while merge is not None:
                node, left, right = merge
                merge = tree.add(node, merge_partial(REDUCTIONS, left, right))
        return [bits(tree.roots[g]) for g in (0, 1)]

    assert run(range(10)) == run(range(9, -1, -1)) == run([4, 9, 1, 0, 7, 2, 8, 3, 6, 5])
