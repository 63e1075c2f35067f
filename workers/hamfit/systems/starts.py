"""Random starts: displaced sites and Maxwell momenta, each from a generator of its own.

Trajectory k of seed s draws from `default_rng([s, k])`: it is the same whether it is simulated alone or
beside others. Total momentum is zero to rounding. A learned potential is only known at distances it has
seen, and a large lattice sees rarer bond lengths than a small one at the same temperature; so training
systems start at a range of heats (`heat`), and large ones, which are there to be tested on, at one.
"""

from __future__ import annotations

import math

import numpy as np

from hamfit.types import FloatArray


def generator(seed: int, trajectory: int) -> np.random.Generator:
    """The random numbers of one trajectory."""
    return np.random.default_rng([seed, trajectory])


def heat(trajectory: int, spread: float) -> float:
    """Factor between 1 and `spread` on displacements and momenta of trajectory k.

    The factors follow the van der Corput sequence 0, 1/2, 1/4, 3/4, ...: evenly spread however many there
    are, and trajectory 0 always has factor 1.
    """
    fraction, weight = 0.0, 0.5
    while trajectory:
        fraction += weight * (trajectory & 1)
        trajectory >>= 1
        weight *= 0.5
    return 1.0 + (spread - 1.0) * fraction


def maxwell(masses: FloatArray, dim: int, temperature: float, rng: np.random.Generator) -> FloatArray:
    """Momenta sqrt(m T) N(0, 1) with the mean velocity taken off, (N, d); Boltzmann's constant is 1."""
    p = np.sqrt(masses * temperature)[:, None] * rng.standard_normal((len(masses), dim))
    return without_drift(p, masses)


def without_drift(p: FloatArray, masses: FloatArray) -> FloatArray:
    """Momenta in the frame of the centre of mass."""
    return np.asarray(p - masses[:, None] * (p.sum(axis=0) / masses.sum()))


def rescaled(p: FloatArray, masses: FloatArray, temperature: float) -> FloatArray:
    """Momenta scaled to have exactly this kinetic temperature 2 K / (d (N - 1)), drift removed first."""
    p, (n, d) = without_drift(p, masses), p.shape
    return p * math.sqrt(temperature / float((p**2 / masses[:, None]).sum() / (d * (n - 1))))
