"""Reductions on a device give the states of the processor, and obey the same laws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hamfit.devices import AbstractDevice
from hamfit.devices.emulated import EmulatedDevice
from hamfit.reductions import AbstractReduction, Gram, MixedGram, Triangle, Tsqr
from hamfit.reductions.device import device_accumulator, merge_on_device
from hamfit.types import FloatArray

Make = Callable[[int], AbstractReduction]
MAKERS: dict[str, Make] = {"normal": Gram, "tsqr": Tsqr, "mixed": MixedGram}
#: Relative to the norms of two columns.
ROUNDING = {"normal": 1e-13, "tsqr": 1e-13, "mixed": 3e-6}
each_reduction = pytest.mark.parametrize("name", MAKERS)


def rows_of(seed: int, m: int, k: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(m, k + 1)) * 10.0 ** rng.uniform(-3.0, 3.0, size=k + 1)


def on_device(device: AbstractDevice, name: str, panels: list[FloatArray], size: int) -> Triangle:
    accumulator = device_accumulator(device, name, size)
    for panel in panels:
        accumulator.absorb(device.upload(panel))
    return accumulator.state()


def on_host(reduction: AbstractReduction, panels: list[FloatArray]) -> Triangle:
    accumulator = reduction.accumulator()
    for panel in panels:
        accumulator.absorb(panel)
    return accumulator.state()


def assert_close(name: str, found: Triangle, expected: Triangle, rows: FloatArray) -> None:
    norms = np.sqrt(np.einsum("ij,ij->j", rows, rows))
    norms = np.where(norms > 0.0, norms, 1.0)
    # of a Gram matrix the scale is that of both columns, of an R factor that of its own
    scale = np.broadcast_to(norms, (norms.size, norms.size)) if name == "tsqr" else np.outer(norms, norms)
    assert np.abs((found.unpack() - expected.unpack()) / scale).max(initial=0.0) < ROUNDING[name]
    assert found.n_rows == expected.n_rows == rows.shape[0]


@each_reduction
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(seed=st.integers(0, 2**31), m=st.integers(0, 60), cuts=st.lists(st.integers(0, 60), max_size=5))
def test_panels_of_any_height_give_the_state_of_the_processor(
    device: AbstractDevice, name: str, seed: int, m: int, cuts: list[int]
) -> None:
    k = 5
    rows = rows_of(seed, m, k)
    panels = [np.ascontiguousarray(panel) for panel in np.split(rows, sorted(min(cut, m) for cut in cuts))]
    found = on_device(device, name, panels, k + 1)
    # an R factor is as well determined as its columns are independent
    if name == "tsqr" and m <= 3 * k:
        np.testing.assert_allclose(
            found.unpack().T @ found.unpack(), rows.T @ rows, rtol=0.0, atol=1e-12 * (rows**2).sum()
        )
        return
    assert_close(name, found, on_host(MAKERS[name](k), panels), rows)


@each_reduction
def test_tall_panels_give_the_state_of_the_processor(device: AbstractDevice, name: str) -> None:
    # more rows than are summed in single precision at a time, and some over
    rows = rows_of(7, 9_973, 31)
    panels = [rows[:9_001], rows[9_001:]]
    found = on_device(device, name, panels, 32)
    assert_close(name, found, on_host(MAKERS[name](31), panels), rows)
    if name == "mixed":
        assert_close(name, found, on_host(Gram(31), panels), rows)


@each_reduction
def test_the_same_panels_give_the_same_bits(device: AbstractDevice, name: str) -> None:
    rows = rows_of(8, 5_003, 17)
    first, second = (on_device(device, name, [rows[:4_500], rows[4_500:]], 18) for _ in range(2))
    assert first.packed.tobytes() == second.packed.tobytes()


def test_a_panel_in_single_precision_is_taken_as_it_is(device: AbstractDevice) -> None:
    rows = rows_of(9, 4_999, 11)
    found = on_device(device, "mixed", [rows.astype(np.float32)], 12)
    assert found.packed.tobytes() == on_device(device, "mixed", [rows], 12).packed.tobytes()


class Tight(np.ndarray):
    """An array of a device whose memory ends after some operations."""

    left = 0

    @classmethod
    def spend(cls) -> None:
        """One operation, which wants memory for its result."""
        if cls.left == 0:
            raise MemoryError("full")
        cls.left -= 1

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
        Tight.spend()
        plain = [np.asarray(value) if isinstance(value, Tight) else value for value in inputs]
        result = getattr(ufunc, method)(*plain, **keywords)
        # what is changed in place stays what it is
        return result if "out" in keywords or not isinstance(result, np.ndarray) else result.view(Tight)

    def __array_function__(self, function: Any, types: Any, arguments: Any, keywords: Any) -> Any:
        Tight.spend()
        return super().__array_function__(function, types, arguments, keywords)

    def astype(self, *arguments: Any, **keywords: Any) -> Any:
        """A copy in another precision."""
        Tight.spend()
        return super().astype(*arguments, **keywords)


@each_reduction
def test_a_panel_that_does_not_fit_leaves_everything_as_it_was(name: str) -> None:
    rows, k = rows_of(11, 9_001, 4), 4
    accumulator = device_accumulator(EmulatedDevice(), name, k + 1)
    accumulator.absorb(rows[:8])
    before = accumulator.state()
    refused = 0
    for operations in range(100):
        Tight.left = operations
        try:
            accumulator.absorb(rows[8:].view(Tight))
        except MemoryError:
            refused += 1
        else:
            break
        after = accumulator.state()
        assert (after.packed.tobytes(), after.n_rows) == (before.packed.tobytes(), before.n_rows)
    assert refused >= 1
    assert_close(name, accumulator.state(), on_host(MAKERS[name](k), [rows]), rows)


@each_reduction
@pytest.mark.parametrize("k", [7, 731])
def test_states_merge_as_on_the_processor(device: AbstractDevice, name: str, k: int) -> None:
    reduction = MAKERS[name](k)
    rows = rows_of(10, 1_600, k)
    halves = [on_host(reduction, [half]) for half in np.split(rows, 2)]
    found = merge_on_device(device, reduction, *halves)
    norms = np.sqrt(np.einsum("ij,ij->j", rows, rows))
    scale = norms if name == "tsqr" else np.outer(norms, norms)
    expected = reduction.merge(*halves)
    assert np.abs((found.unpack() - expected.unpack()) / scale).max() < 1e-12
    assert found.n_rows == expected.n_rows
