"""The compiled time step of particles within a cutoff: kick, drift, forces, on any number of threads.

All threads run ``advance`` on the same arrays. Each owns a slice of the particles, whose momenta and positions it
moves, and every n-th chunk of the force sum (``kernels.bodies``).

Forces of pairs take one pass (``kernels.pair_forces``), and threads meet twice a stage (``kernels.barrier``). Those of
one-density models take two (``kernels.density``): threads meet also when the densities of all chunks are summed, and
when F and F' of all particles are known. Where a particle has moved farther than the runs allow for, all return and the
caller sorts anew.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from hamfit.kernels.barrier import meet
from hamfit.kernels.bodies import Bodies, Reach
from hamfit.kernels.density import Densities, Pairs, embed, push_kept, scratch_of, sum_chunk
from hamfit.kernels.lanes import OUT_WORDS
from hamfit.kernels.pair_forces import LawRows, push_chunk
from hamfit.kernels.uncounted import uncounted
from hamfit.types import FloatArray, IntArray


class Team(NamedTuple):
    """One thread of several that call the same kernel at the same time."""

    thread: int
    """Its number."""
    n_threads: int
    """How many there are."""
    counter: IntArray
    """(1,) zero, shared: the barrier."""
    moved: FloatArray
    """(n_threads,) shared scratch."""


class Steps(NamedTuple):
    """How a step moves particles."""

    kicks: FloatArray
    """Lengths of the kicks of one step, (s + 1,)."""
    drifts: FloatArray
    """Lengths of the drifts of one step, (s,)."""
    limit2: float
    """Square of half the skin."""


@uncounted
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


@uncounted
def share(thread: int, n_threads: int, n: int) -> tuple[int, int]:
    """The slice of 0 .. n that belongs to a thread."""
    return thread * n // n_threads, (thread + 1) * n // n_threads


@uncounted
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


@uncounted
def start_stage(team: Team, meeting: int, bodies: Bodies, steps: Steps, stage: int) -> tuple[int, bool]:
    """This thread's part of a stage before its forces; the next meeting, and whether runs still hold for all."""
    k, s = stage % steps.drifts.size, steps.drifts.size
    # the last kick of one step and the first of the next are one
    kick = steps.kicks[k] + (steps.kicks[s] if k == 0 and stage > 0 else 0.0)
    first, last = share(team.thread, team.n_threads, bodies.species.size)
    team.moved[team.thread] = kick_and_drift(first, last, bodies, kick, steps.drifts[k])
    meeting = meet(team.counter, team.n_threads, meeting)
    for t in range(team.n_threads):
        if team.moved[t] > steps.limit2:
            return meeting, False
    return meeting, True


@uncounted
def last_kick(first: int, last: int, bodies: Bodies, kick: float) -> None:
    """The kick that ends a whole number of steps."""
    for axis in range(3):
        p, force = bodies.p[axis], bodies.force[axis]
        for i in range(first, last):
            p[i] += kick * force[i]


@nb.njit(cache=True, nogil=True)
def observe(
    bodies: Bodies, reach: Reach, laws: LawRows | None, kept: tuple[Densities, Pairs] | None, out: FloatArray
) -> None:
    """Forces into ``bodies``, and energy of the pairs and virial of each chunk into ``out`` (K, 11).

    laws and kept: as ``advance`` has them; F goes into the ``Pairs``.
    """
    n, n_chunks = bodies.species.size, reach.chunks.size - 1
    out[:] = 0.0
    if laws is not None:
        for k in range(n_chunks):
            push_chunk(k, bodies, reach, laws, True, out[k])
    if kept is not None:
        d, pairs = kept
        w = scratch_of(pairs)
        for k in range(n_chunks):
            sum_chunk(k, bodies, reach, d, pairs, w)
        embed(0, n, bodies, reach, d, pairs)
        for k in range(n_chunks):
            push_kept(k, bodies, reach, d, pairs, True, out[k])
    add_windows(0, n, bodies, reach)


@nb.njit(cache=True, nogil=True)
def advance(
    team: Team,
    bodies: Bodies,
    reach: Reach,
    laws: LawRows | None,
    kept: tuple[Densities, Pairs] | None,
    steps: Steps,
    stage: int,
    n_stages: int,
    drifted: bool,
) -> int:
    """Stages ``stage`` .. n_stages - 1 of a composition; returns the stage at which runs must be found anew.

    Args:
        team: this thread and the others.
        bodies: with the forces at q.
        reach: runs that hold while no particle has moved farther than sqrt(limit2) from ``bodies.start``.
        laws: of the pairs, or None: what is None is not compiled.
        kept: a one-density model and room for its pairs, or None.
        steps: of the composition.
        stage: first stage, counted over all steps.
        n_stages: s times the number of steps.
        drifted: whether the first stage's kick and drift are done already.

    Returns ``n_stages`` when all is done, the last kick included.

    """
    thread, n_threads, n_chunks = team.thread, team.n_threads, reach.chunks.size - 1
    first, last = share(thread, n_threads, bodies.species.size)
    out, meeting = np.zeros(OUT_WORDS), 0
    if kept is not None:
        d, pairs = kept
        w = scratch_of(pairs)
    while stage < n_stages:
        if not drifted:
            meeting, holds = start_stage(team, meeting, bodies, steps, stage)
            if not holds:
                return stage
        drifted = False
        if laws is not None:
            for c in range(thread, n_chunks, n_threads):
                push_chunk(c, bodies, reach, laws, False, out)
        if kept is not None:
            for c in range(thread, n_chunks, n_threads):
                sum_chunk(c, bodies, reach, d, pairs, w)
            meeting = meet(team.counter, n_threads, meeting)
            embed(first, last, bodies, reach, d, pairs)
            meeting = meet(team.counter, n_threads, meeting)
            for c in range(thread, n_chunks, n_threads):
                push_kept(c, bodies, reach, d, pairs, False, out)
        meeting = meet(team.counter, n_threads, meeting)
        add_windows(first, last, bodies, reach)
        stage += 1
    last_kick(first, last, bodies, steps.kicks[steps.drifts.size])
    return stage
