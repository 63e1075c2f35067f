from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numba as nb
import numpy as np
import pytest

from hamfit.kernels.barrier import meet
from hamfit.types import IntArray


@nb.njit(nogil=True)
def race(thread: int, n_threads: int, counter: IntArray, board: IntArray, rounds: int) -> int:
    """Write, meet, look at what all others wrote, meet; returns how often anybody was late or early."""
    wrong, meeting = 0, 0
    for k in range(1, rounds + 1):
        board[thread] = k
        meeting = meet(counter, n_threads, meeting)
        for t in range(n_threads):
            wrong += board[t] != k
        meeting = meet(counter, n_threads, meeting)
    return wrong


@pytest.mark.parametrize("n_threads", [2, 3, 5])
def test_nobody_goes_on_before_all_have_come(n_threads: int) -> None:
    rounds = 4000
    counter, board = np.zeros(1, dtype=np.int64), np.zeros(n_threads, dtype=np.int64)
    with ThreadPoolExecutor(n_threads) as pool:
        wrong = list(pool.map(lambda t: race(t, n_threads, counter, board, rounds), range(n_threads)))
    assert wrong == [0] * n_threads
    assert counter[0] == 2 * rounds * n_threads


def test_threads_that_come_at_any_time_meet_in_order() -> None:
    n_threads, rounds = 4, 12
    counter = np.zeros(1, dtype=np.int64)
    log: list[tuple[int, int]] = []
    lock = threading.Lock()

    def task(thread: int) -> None:
        rng = np.random.default_rng(thread)
        meeting = 0
        for k in range(rounds):
            time.sleep(float(rng.choice([0.0, 1e-4, 3e-3])))
            with lock:
                log.append((k, thread))
            meeting = meet(counter, n_threads, meeting)
            assert meeting == k + 1

    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(task, range(n_threads)))
    # all of one round before any of the next
    assert [k for k, _ in log] == [k for k in range(rounds) for _ in range(n_threads)]
    for k in range(rounds):
        assert sorted(t for at, t in log if at == k) == list(range(n_threads))


def test_a_thread_alone_passes_and_leaves_no_trace() -> None:
    counter = np.zeros(1, dtype=np.int64)
    assert [meet(counter, 1, k) for k in range(3)] == [1, 2, 3]
    assert counter[0] == 0


def test_waiting_threads_do_not_hold_the_interpreter() -> None:
    counter = np.zeros(1, dtype=np.int64)
    meet(counter, 1, 0)
    waiting = threading.Thread(target=meet, args=(counter, 2, 0))
    waiting.start()
    # this thread could not come if the other waited with the lock of the interpreter
    assert meet(counter, 2, 0) == 1
    waiting.join(30.0)
    assert not waiting.is_alive()
