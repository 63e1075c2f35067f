"""The compiled time step of a system of pairs within a cutoff: kick, drift, forces, on any number of threads.

All threads run ``advance`` on the same arrays. Each owns a slice of the particles, whose momenta and positions it
moves, and every n-th chunk of the force sum. A chunk is a fixed set of rows of columns, and collects forces in a window
of its own, which reaches as far ahead as its runs do; the windows are added in the order of the chunks. So chunks
depend on the system and never on the number of threads, and neither does a bit of the result.

Threads meet twice a step (``kernels.barrier``). Where a particle has moved farther than the runs allow for, all return
and the caller sorts anew.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from hamfit.kernels.barrier import meet
from hamfit.kernels.columns import Int32Array
from hamfit.kernels.lanes import (
    LAW_CORE2,
    LAW_N,
    OUT_CORE,
    OUT_FORCE,
    OUT_WORDS,
    RUN_WORDS,
    observe_lanes_inverse,
    observe_lanes_square,
    push_lanes_inverse,
    push_lanes_square,
)
from hamfit.kernels.pair_tables import Tables, push_table
from hamfit.types import FloatArray, IntArray


class Bodies(NamedTuple):
    """State of the sorted particles; rows of W >= N + LANES numbers, of which the last are spare."""

    q: FloatArray
    """Positions, (3, W)."""
    p: FloatArray
    """Momenta, (3, W)."""
    force: FloatArray
    """Forces, (3, W)."""
    start: FloatArray
    """Positions when the runs were found, (3, W)."""
    rate: FloatArray
    """dq/dt = rate * p, (N,)."""
    species: IntArray
    """Species of each particle, (N,)."""


class Reach(NamedTuple):
    """Who may meet whom until a particle has moved too far."""

    runs: Int32Array
    """(N, M, 4), see ``kernels.lanes``."""
    ends: Int32Array
    """Runs among particles of species b are ends[i, b] .. ends[i, b + 1], (N, S + 1)."""
    shifts: FloatArray
    """Lattice translations, (T, 3)."""
    chunks: IntArray
    """First particle of each chunk and the number of particles, (K + 1,)."""
    window: IntArray
    """For each chunk: first particle of its window, its length, its place in ``forces``, its row width, (K, 4)."""
    forces: FloatArray
    """Windows of all chunks, one after the other, each (3, width)."""


class LawRows(NamedTuple):
    """The laws of all channels."""

    channels: IntArray
    """Channel of each pair of species, (S, S)."""
    rows: FloatArray
    """Polynomials, (C, longest row); those without one have no coefficients."""
    inverse: IntArray
    """1 where the polynomial is in 1/r^2, (C,)."""
    cutoff2: FloatArray
    """(C,)."""
    tables: Tables
    """Piecewise polynomials."""


@nb.njit(cache=True, nogil=True, inline="always")
def push_centre(
    i: int, bodies: Bodies, reach: Reach, laws: LawRows, window: FloatArray, target: int, observe: bool, out: FloatArray
) -> None:
    """Add the forces between particle i and its runs to ``window`` (3, width), where i stands at ``target``."""
    q, words = bodies.q, reach.runs.shape[1] * RUN_WORDS
    x, y, z = q[0, i], q[1, i], q[2, i]
    runs_at = reach.runs.ctypes.data + 4 * i * words
    for b in range(reach.ends.shape[1] - 1):
        first, last = reach.ends[i, b], reach.ends[i, b + 1]
        if first == last:
            continue
        c = laws.channels[bodies.species[i], b]
        row = laws.rows[c]
        limit2 = laws.cutoff2[c]
        if row[LAW_N] > 0.0:
            out[OUT_CORE] = 0.0
            arguments = (
                q.ctypes.data,
                q.shape[1],
                window.ctypes.data,
                window.shape[1],
                runs_at + 4 * RUN_WORDS * first,
                last - first,
                reach.shifts.ctypes.data,
                x,
                y,
                z,
                row.ctypes.data,
                out.ctypes.data,
            )
            if observe:
                if laws.inverse[c]:
                    observe_lanes_inverse(*arguments)
                else:
                    observe_lanes_square(*arguments)
            elif laws.inverse[c]:
                push_lanes_inverse(*arguments)
            else:
                push_lanes_square(*arguments)
            if out[OUT_CORE] == 0.0:
                continue
            limit2 = row[LAW_CORE2]
        push_table(q, window, reach.runs[i], first, last, reach.shifts, x, y, z, laws.tables, c, limit2, observe, out)
    for axis in range(3):
        window[axis, target] += out[OUT_FORCE + axis]


@nb.njit(cache=True, nogil=True)
def push_chunk(k: int, bodies: Bodies, reach: Reach, laws: LawRows, observe: bool, out: FloatArray) -> None:
    """Forces of all pairs whose centre lies in chunk k, into its window; energy and virial are added to ``out``."""
    origin, place, width = reach.window[k, 0], reach.window[k, 2], reach.window[k, 3]
    window = reach.forces[place : place + 3 * width].reshape(3, width)
    window[:] = 0.0
    for i in range(reach.chunks[k], reach.chunks[k + 1]):
        out[OUT_FORCE : OUT_FORCE + 3] = 0.0
        # chunks come in the order of the particles, so i is never before the window's origin
        push_centre(i, bodies, reach, laws, window, i - origin, observe, out)


@nb.njit(cache=True, nogil=True)
def add_windows(first: int, last: int, bodies: Bodies, reach: Reach) -> None:
    """Forces of particles first .. last - 1: the sum of all windows, in the order of the chunks."""
    n = bodies.species.size
    for axis in range(3):
        force = bodies.force[axis]
        force[first:last] = 0.0
        for k in range(reach.window.shape[0]):
            origin, length, place, width = reach.window[k]
            window = reach.forces[place + axis * width : place + axis * width + length]
            # a window that runs past the last particle goes on at the first
            low, high = max(first, origin), min(last, origin + length)
            for i in range(low, high):
                force[i] += window[i - origin]
            high = min(last, origin + length - n)
            for i in range(first, high):
                force[i] += window[i - origin + n]


@nb.njit(cache=True, nogil=True)
def share(thread: int, n_threads: int, n: int) -> tuple[int, int]:
    """The slice of 0 .. n that belongs to a thread."""
    return thread * n // n_threads, (thread + 1) * n // n_threads


@nb.njit(cache=True, nogil=True)
def kick_and_drift(first: int, last: int, bodies: Bodies, kick: float, drift: float) -> float:
    """Move particles first .. last - 1; the square of the farthest that one is from its start, inf where it is lost."""
    for axis in range(3):
        q, p, force = bodies.q[axis], bodies.p[axis], bodies.force[axis]
        for i in range(first, last):
            p[i] += kick * force[i]
            q[i] += drift * bodies.rate[i] * p[i]
    largest, lost = 0.0, False
    for i in range(first, last):
        d0 = bodies.q[0, i] - bodies.start[0, i]
        d1 = bodies.q[1, i] - bodies.start[1, i]
        d2 = bodies.q[2, i] - bodies.start[2, i]
        square = d0 * d0 + d1 * d1 + d2 * d2
        largest = max(largest, square)
        lost |= not np.isfinite(square)
    return np.inf if lost else largest


@nb.njit(cache=True, nogil=True)
def start_stage(
    thread: int,
    n_threads: int,
    counter: IntArray,
    moved: FloatArray,
    meeting: int,
    bodies: Bodies,
    kicks: FloatArray,
    drifts: FloatArray,
    stage: int,
    limit2: float,
) -> tuple[int, bool]:
    """This thread's part of a stage before its forces; the next meeting, and whether runs still hold for all."""
    k, s = stage % drifts.size, drifts.size
    # the last kick of one step and the first of the next are one
    kick = kicks[k] + (kicks[s] if k == 0 and stage > 0 else 0.0)
    first, last = share(thread, n_threads, bodies.species.size)
    moved[thread] = kick_and_drift(first, last, bodies, kick, drifts[k])
    meeting = meet(counter, n_threads, meeting)
    for t in range(n_threads):
        if moved[t] > limit2:
            return meeting, False
    return meeting, True


@nb.njit(cache=True, nogil=True)
def last_kick(first: int, last: int, bodies: Bodies, kick: float) -> None:
    """The kick that ends a whole number of steps."""
    for axis in range(3):
        p, force = bodies.p[axis], bodies.force[axis]
        for i in range(first, last):
            p[i] += kick * force[i]


@nb.njit(cache=True, nogil=True)
def observe_all(bodies: Bodies, reach: Reach, laws: LawRows, out: FloatArray) -> None:
    """Forces into ``bodies``, and energy and virial of each chunk into ``out`` (K, 11)."""
    for k in range(reach.chunks.size - 1):
        out[k] = 0.0
        push_chunk(k, bodies, reach, laws, True, out[k])
    add_windows(0, bodies.species.size, bodies, reach)


@nb.njit(cache=True, nogil=True)
def advance(
    thread: int,
    n_threads: int,
    counter: IntArray,
    moved: FloatArray,
    bodies: Bodies,
    reach: Reach,
    laws: LawRows,
    kicks: FloatArray,
    drifts: FloatArray,
    stage: int,
    n_stages: int,
    drifted: bool,
    limit2: float,
) -> int:
    """Stages ``stage`` .. n_stages - 1 of a composition; returns the stage at which runs must be found anew.

    Args:
        thread: number of this thread of ``n_threads``.
        n_threads: how many call this at the same time.
        counter: (1,) zero, shared: the barrier.
        moved: (n_threads,) shared scratch.
        bodies: with the forces at q.
        reach: runs that hold while no particle has moved farther than sqrt(limit2) from ``bodies.start``.
        laws: of the pairs.
        kicks: lengths of the kicks of one step, (s + 1,).
        drifts: lengths of the drifts of one step, (s,).
        stage: first stage, counted over all steps.
        n_stages: s times the number of steps.
        drifted: whether the first stage's kick and drift are done already.
        limit2: square of half the skin.

    Returns ``n_stages`` when all is done, the last kick included.

    """
    first, last = share(thread, n_threads, bodies.species.size)
    out = np.zeros(OUT_WORDS)
    meeting = 0
    while stage < n_stages:
        if not drifted:
            meeting, holds = start_stage(
                thread, n_threads, counter, moved, meeting, bodies, kicks, drifts, stage, limit2
            )
            if not holds:
                return stage
        drifted = False
        for c in range(thread, reach.chunks.size - 1, n_threads):
            push_chunk(c, bodies, reach, laws, False, out)
        meeting = meet(counter, n_threads, meeting)
        add_windows(first, last, bodies, reach)
        stage += 1
    last_kick(first, last, bodies, kicks[drifts.size])
    return stage
