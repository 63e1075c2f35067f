"""The compiled time step of one-density models, on any number of threads.

As ``kernels.stepping``, with forces in two passes (``kernels.density``): threads meet when the densities of all chunks
are summed, when F and F' of all particles are known, and when all chunks have pushed. Chunks depend on the system and
never on the number of threads, and neither does a bit of the result.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from hamfit.kernels.barrier import meet
from hamfit.kernels.density import Densities, Pairs, embed, push_chunk, scratch_of, sum_chunk
from hamfit.kernels.lanes import OUT_WORDS
from hamfit.kernels.stepping import Bodies, Reach, add_windows, last_kick, share, start_stage
from hamfit.types import FloatArray, IntArray


@nb.njit(cache=True, nogil=True)
def observe_densities(bodies: Bodies, reach: Reach, d: Densities, pairs: Pairs, out: FloatArray) -> None:
    """Forces into ``bodies``, F into ``pairs``, and pair energy and virial of each chunk into out (K, 11)."""
    n, w = bodies.species.size, scratch_of(pairs)
    for k in range(reach.chunks.size - 1):
        sum_chunk(k, bodies, reach, d, pairs, w)
    embed(0, n, bodies, reach, d, pairs)
    for k in range(reach.chunks.size - 1):
        out[k] = 0.0
        push_chunk(k, bodies, reach, d, pairs, True, out[k])
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
    pairs: Pairs,
    kicks: FloatArray,
    drifts: FloatArray,
    stage: int,
    n_stages: int,
    drifted: bool,
    limit2: float,
) -> int:
    """Stages ``stage`` .. n_stages - 1 of a composition; returns the stage at which runs must be found anew.

    Arguments and result are those of ``kernels.stepping.advance``, with the functions ``d`` and room for ``pairs``.
    """
    first, last = share(thread, n_threads, bodies.species.size)
    n_chunks = reach.chunks.size - 1
    w, out = scratch_of(pairs), np.zeros(OUT_WORDS)
    meeting = 0
    while stage < n_stages:
        if not drifted:
            meeting, holds = start_stage(
                thread, n_threads, counter, moved, meeting, bodies, kicks, drifts, stage, limit2
            )
            if not holds:
                return stage
        drifted = False
        for c in range(thread, n_chunks, n_threads):
            sum_chunk(c, bodies, reach, d, pairs, w)
        meeting = meet(counter, n_threads, meeting)
        embed(first, last, bodies, reach, d, pairs)
        meeting = meet(counter, n_threads, meeting)
        for c in range(thread, n_chunks, n_threads):
            push_chunk(c, bodies, reach, d, pairs, False, out)
        meeting = meet(counter, n_threads, meeting)
        add_windows(first, last, bodies, reach)
        stage += 1
    last_kick(first, last, bodies, kicks[drifts.size])
    return stage
