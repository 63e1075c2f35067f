"""The compiled time step of one-density models: embedded atoms, with or without pair functions beside them.

Forces take two passes over the runs of ``kernels.columns``: one sums the density at both ends of every pair, one pushes
both ends by phi' + F'(rho_i) g_ab' + F'(rho_j) g_ba'. Between them each thread adds up the densities of its own particles
and looks up F'. Distances are measured twice, which is cheaper than storing them. Chunks and windows are those of
``kernels.stepping``, whose windows of forces hold densities in their first row during the first pass; so the same state gives
the same bits for any number of threads.

Pairs nearer than any in training are rare, and take the slow path through ``kernels.pair_tables``. So do all pairs
of an observed state, where energies and the virial are wanted too.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from hamfit.kernels.barrier import meet
from hamfit.kernels.density_lanes import (
    FUNCTION_CUTOFF2,
    OUT_DENSITY,
    OUT_DENSITY_WORDS,
    OUT_NEAR,
    push_density_alike,
    push_density_alike_pairs,
    push_density_unlike,
    push_density_unlike_pairs,
    sum_density_alike,
    sum_density_unlike,
)
from hamfit.kernels.lanes import (
    OUT_CORE,
    OUT_ENERGY,
    OUT_FORCE,
    OUT_VIRIAL,
    OUT_WORDS,
    RUN_BEGIN,
    RUN_END,
    RUN_SHIFT,
    RUN_TARGET,
    RUN_WORDS,
)
from hamfit.kernels.pair_tables import Tables, law
from hamfit.kernels.stepping import Bodies, Reach, add_windows, share
from hamfit.types import FloatArray, IntArray


class Densities(NamedTuple):
    """The functions of a one-density model."""

    which: IntArray
    """For a centre of species a and a neighbour of species b: number of the function of the density at the centre, of that
    at the neighbour, and of the pair, (S, S, 3). The last function is zero, for what is not there."""
    rows: FloatArray
    """Functions as ``kernels.density_lanes`` wants them, (G, 5)."""
    core2: FloatArray
    """Square of the distance below which lanes know nothing, (S, S)."""
    values: FloatArray
    """Coefficients of all pieces by rising power, (pieces, 8)."""
    slopes: FloatArray
    """The same of -2 dE/d(r^2)."""
    functions: Tables
    """Functions of the distance, G channels."""
    embeddings: Tables
    """F of the density for each species, S channels."""
    empty: FloatArray
    """Density of a particle without neighbours, (S,)."""


class Environment(NamedTuple):
    """What the density around each particle means; W as in ``Bodies``."""

    steep: FloatArray
    """dF/d(density), (W,)."""
    energy: FloatArray
    """F, (W,)."""


@nb.njit(cache=True, nogil=True, inline="always")
def _sum_densities(
    i: int, bodies: Bodies, reach: Reach, d: Densities, window: FloatArray, target: int, observe: bool, out: FloatArray
) -> None:
    """Add the densities between particle i and its runs to ``window`` (width,), where i stands at ``target``."""
    q, words = bodies.q, reach.runs.shape[1] * RUN_WORDS
    x, y, z = q[0, i], q[1, i], q[2, i]
    runs_at = reach.runs.ctypes.data + 4 * i * words
    a = bodies.species[i]
    out[OUT_DENSITY] = 0.0
    for b in range(reach.ends.shape[1] - 1):
        first, last = reach.ends[i, b], reach.ends[i, b + 1]
        own, other = d.which[a, b, 0], d.which[a, b, 1]
        limit2 = d.rows[own, FUNCTION_CUTOFF2]
        if first == last or limit2 == 0.0:
            continue
        if not observe:
            out[OUT_NEAR] = 0.0
            arguments = (
                q.ctypes.data,
                q.shape[1],
                runs_at + 4 * RUN_WORDS * first,
                last - first,
                reach.shifts.ctypes.data,
                x,
                y,
                z,
                d.core2[a, b],
                d.rows[own].ctypes.data,
                d.rows[other].ctypes.data,
                d.values.ctypes.data,
                window.ctypes.data,
                out.ctypes.data,
            )
            if own == other:
                sum_density_alike(*arguments)
            else:
                sum_density_unlike(*arguments)
            if out[OUT_NEAR] == 0.0:
                continue
            limit2 = min(limit2, d.core2[a, b])
        for k in range(first, last):
            shift, begin = reach.runs[i, k, RUN_SHIFT], reach.runs[i, k, RUN_BEGIN]
            x0, x1, x2 = x - reach.shifts[shift, 0], y - reach.shifts[shift, 1], z - reach.shifts[shift, 2]
            ahead = reach.runs[i, k, RUN_TARGET] - begin
            for j in range(begin, reach.runs[i, k, RUN_END]):
                d0, d1, d2 = x0 - q[0, j], x1 - q[1, j], x2 - q[2, j]
                r2 = d0 * d0 + d1 * d1 + d2 * d2
                if r2 < limit2:
                    r = np.sqrt(r2)
                    here = law(d.functions, own, r)[0]
                    out[OUT_DENSITY] += here
                    window[j + ahead] += here if own == other else law(d.functions, other, r)[0]
    window[target] += out[OUT_DENSITY]


@nb.njit(cache=True, nogil=True, inline="always")
def _push(
    i: int,
    bodies: Bodies,
    reach: Reach,
    d: Densities,
    steep: FloatArray,
    window: FloatArray,
    target: int,
    observe: bool,
    out: FloatArray,
) -> None:
    """Add the forces between particle i and its runs to ``window`` (3, width), where i stands at ``target``."""
    q, words = bodies.q, reach.runs.shape[1] * RUN_WORDS
    x, y, z = q[0, i], q[1, i], q[2, i]
    runs_at = reach.runs.ctypes.data + 4 * i * words
    a, nothing = bodies.species[i], d.rows.shape[0] - 1
    out[OUT_FORCE : OUT_FORCE + 3] = 0.0
    for b in range(reach.ends.shape[1] - 1):
        first, last = reach.ends[i, b], reach.ends[i, b + 1]
        if first == last:
            continue
        own, other, pair = d.which[a, b, 0], d.which[a, b, 1], d.which[a, b, 2]
        limit2 = np.inf
        if not observe:
            out[OUT_CORE] = 0.0
            arguments = (
                q.ctypes.data,
                q.shape[1],
                runs_at + 4 * RUN_WORDS * first,
                last - first,
                reach.shifts.ctypes.data,
                x,
                y,
                z,
                d.core2[a, b],
                d.rows[own].ctypes.data,
                d.rows[other].ctypes.data,
                d.rows[pair].ctypes.data,
                d.slopes.ctypes.data,
                steep.ctypes.data,
                steep[i],
                window.ctypes.data,
                window.shape[1],
                out.ctypes.data,
            )
            if pair == nothing:
                if own == other:
                    push_density_alike(*arguments)
                else:
                    push_density_unlike(*arguments)
            elif own == other:
                push_density_alike_pairs(*arguments)
            else:
                push_density_unlike_pairs(*arguments)
            if out[OUT_CORE] == 0.0:
                continue
            limit2 = d.core2[a, b]
        _push_slowly(i, b, first, last, bodies, reach, d, steep, window, limit2, observe, out)
    for axis in range(3):
        window[axis, target] += out[OUT_FORCE + axis]


@nb.njit(cache=True, nogil=True)
def _push_slowly(
    i: int,
    b: int,
    first: int,
    last: int,
    bodies: Bodies,
    reach: Reach,
    d: Densities,
    steep: FloatArray,
    window: FloatArray,
    limit2: float,
    observe: bool,
    out: FloatArray,
) -> None:
    """The runs first .. last - 1 of particle i, among species b: all pairs with r^2 < limit2, one at a time."""
    q = bodies.q
    own, other, pair = d.which[bodies.species[i], b]
    dense2, paired2 = d.rows[own, FUNCTION_CUTOFF2], d.rows[pair, FUNCTION_CUTOFF2]
    limit2 = min(limit2, max(dense2, paired2))
    for k in range(first, last):
        shift, begin = reach.shifts[reach.runs[i, k, RUN_SHIFT]], reach.runs[i, k, RUN_BEGIN]
        ahead = reach.runs[i, k, RUN_TARGET] - begin
        for j in range(begin, reach.runs[i, k, RUN_END]):
            d0, d1, d2 = q[0, i] - shift[0] - q[0, j], q[1, i] - shift[1] - q[1, j], q[2, i] - shift[2] - q[2, j]
            r2 = d0 * d0 + d1 * d1 + d2 * d2
            # a pair at one place has no direction and pushes nobody
            if r2 >= limit2 or r2 == 0.0:
                continue
            r = np.sqrt(r2)
            slope = 0.0
            if r2 < paired2:
                energy, slope = law(d.functions, pair, r)
                if observe:
                    out[OUT_ENERGY] += energy
            if r2 < dense2:
                slope += steep[i] * law(d.functions, own, r)[1] + steep[j] * law(d.functions, other, r)[1]
            pull = -slope / r
            window[0, j + ahead] -= pull * d0
            window[1, j + ahead] -= pull * d1
            window[2, j + ahead] -= pull * d2
            out[OUT_FORCE] += pull * d0
            out[OUT_FORCE + 1] += pull * d1
            out[OUT_FORCE + 2] += pull * d2
            if observe:
                out[OUT_VIRIAL] += pull * d0 * d0
                out[OUT_VIRIAL + 1] += pull * d1 * d1
                out[OUT_VIRIAL + 2] += pull * d2 * d2
                out[OUT_VIRIAL + 3] += pull * d0 * d1
                out[OUT_VIRIAL + 4] += pull * d0 * d2
                out[OUT_VIRIAL + 5] += pull * d1 * d2


@nb.njit(cache=True, nogil=True, inline="always")
def _window(k: int, reach: Reach) -> FloatArray:
    place, width = reach.window[k, 2], reach.window[k, 3]
    return reach.forces[place : place + 3 * width].reshape(3, width)


@nb.njit(cache=True, nogil=True)
def sum_chunk(k: int, bodies: Bodies, reach: Reach, d: Densities, observe: bool, out: FloatArray) -> None:
    """Densities of all pairs whose centre lies in chunk k, into the first row of its window; out (2,) is scratch."""
    window = _window(k, reach)[0]
    window[:] = 0.0
    for i in range(reach.chunks[k], reach.chunks[k + 1]):
        _sum_densities(i, bodies, reach, d, window, i - reach.window[k, 0], observe, out)


@nb.njit(cache=True, nogil=True)
def push_chunk(
    k: int, bodies: Bodies, reach: Reach, d: Densities, steep: FloatArray, observe: bool, out: FloatArray
) -> None:
    """Forces of all pairs whose centre lies in chunk k, into its window; pair energy and virial are added to ``out``."""
    window = _window(k, reach)
    window[:] = 0.0
    for i in range(reach.chunks[k], reach.chunks[k + 1]):
        _push(i, bodies, reach, d, steep, window, i - reach.window[k, 0], observe, out)


@nb.njit(cache=True, nogil=True)
def embed(first: int, last: int, bodies: Bodies, reach: Reach, d: Densities, environment: Environment) -> None:
    """F and its slope for particles first .. last - 1, whose densities are the sums of all windows, in order."""
    n = bodies.species.size
    density = environment.steep
    for i in range(first, last):
        density[i] = d.empty[bodies.species[i]]
    for k in range(reach.window.shape[0]):
        origin, length = reach.window[k, 0], reach.window[k, 1]
        window = _window(k, reach)[0]
        # a window that runs past the last particle goes on at the first
        for i in range(max(first, origin), min(last, origin + length)):
            density[i] += window[i - origin]
        for i in range(first, min(last, origin + length - n)):
            density[i] += window[i - origin + n]
    for i in range(first, last):
        environment.energy[i], environment.steep[i] = law(d.embeddings, bodies.species[i], density[i])


@nb.njit(cache=True, nogil=True)
def observe_densities(
    bodies: Bodies, reach: Reach, d: Densities, environment: Environment, out: FloatArray
) -> None:
    """Forces into ``bodies``, F into ``environment``, and pair energy and virial of each chunk into out (K, 11)."""
    n = bodies.species.size
    scratch = np.zeros(OUT_DENSITY_WORDS)
    for k in range(reach.chunks.size - 1):
        sum_chunk(k, bodies, reach, d, True, scratch)
    embed(0, n, bodies, reach, d, environment)
    for k in range(reach.chunks.size - 1):
        out[k] = 0.0
        push_chunk(k, bodies, reach, d, environment.steep, True, out[k])
    add_windows(0, n, bodies, reach)


@nb.njit(cache=True, nogil=True)
def advance_densities(
    thread: int,
    n_threads: int,
    counter: IntArray,
    moved: FloatArray,
    bodies: Bodies,
    reach: Reach,
    d: Densities,
    environment: Environment,
    kicks: FloatArray,
    drifts: FloatArray,
    stage: int,
    n_stages: int,
    drifted: bool,
    limit2: float,
) -> int:
    """As ``kernels.stepping.advance``; threads meet four times a stage instead of twice."""
    n, s = bodies.species.size, drifts.size
    first, last = share(thread, n_threads, n)
    n_chunks = reach.chunks.size - 1
    out, scratch = np.zeros(OUT_WORDS), np.zeros(OUT_DENSITY_WORDS)
    meeting = 0
    while stage < n_stages:
        k = stage % s
        if not drifted:
            kick = kicks[k]
            if k == 0 and stage > 0:
                kick += kicks[s]
            largest, lost = 0.0, False
            for axis in range(3):
                q, p, force = bodies.q[axis], bodies.p[axis], bodies.force[axis]
                for i in range(first, last):
                    p[i] += kick * force[i]
                    q[i] += drifts[k] * bodies.rate[i] * p[i]
            for i in range(first, last):
                d0 = bodies.q[0, i] - bodies.start[0, i]
                d1 = bodies.q[1, i] - bodies.start[1, i]
                d2 = bodies.q[2, i] - bodies.start[2, i]
                square = d0 * d0 + d1 * d1 + d2 * d2
                largest = max(largest, square)
                lost |= not np.isfinite(square)
            moved[thread] = np.inf if lost else largest
            meeting = meet(counter, n_threads, meeting)
            for t in range(n_threads):
                if moved[t] > limit2:
                    return stage
        drifted = False
        for c in range(thread, n_chunks, n_threads):
            sum_chunk(c, bodies, reach, d, False, scratch)
        meeting = meet(counter, n_threads, meeting)
        embed(first, last, bodies, reach, d, environment)
        meeting = meet(counter, n_threads, meeting)
        for c in range(thread, n_chunks, n_threads):
            push_chunk(c, bodies, reach, d, environment.steep, False, out)
        meeting = meet(counter, n_threads, meeting)
        add_windows(first, last, bodies, reach)
        stage += 1
    for axis in range(3):
        p, force = bodies.p[axis], bodies.force[axis]
        for i in range(first, last):
            p[i] += kicks[s] * force[i]
    return stage
