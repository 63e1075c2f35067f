"""Compiled loops of the many-body block: moments of environments, and the chain rule back through one edge.

Only work that BLAS cannot express lives here; every inner loop runs over a contiguous axis (channels, bumps
or features), so that the compiler vectorises it without being allowed to reorder sums. An edge e belongs to
one environment: its vector is centre minus neighbour, u the unit vector, r the distance. Tensor components
are the monomials u_x^a u_y^b u_z^c listed by ``exponents`` (M, 3), each distinct component once.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from hamfit.types import FloatArray, IntArray


@nb.njit(cache=True, nogil=True)
def _monomials(
    vector: FloatArray,
    distance: FloatArray,
    exponents: IntArray,
    value: FloatArray,
    tangent: FloatArray,
) -> None:
    """Fill value (M,) with u^exponent, and tangent (M, 3) with its derivative by the edge's vector."""
    inverse = 1.0 / distance
    powers = np.ones((3, 9))
    for axis in range(3):
        for k in range(1, 9):
            powers[axis, k] = powers[axis, k - 1] * vector[axis] * inverse
    for m in range(exponents.shape[0]):
        x, y, z = exponents[m, 0], exponents[m, 1], exponents[m, 2]
        value[m] = powers[0, x] * powers[1, y] * powers[2, z]
        # d(u^e)/dv = (grad_u - degree u) / r: the second term removes the part along the edge.
        pull = (x + y + z) * value[m]
        tangent[m, 0] = -pull * powers[0, 1]
        tangent[m, 1] = -pull * powers[1, 1]
        tangent[m, 2] = -pull * powers[2, 1]
        if x > 0:
            tangent[m, 0] += x * powers[0, x - 1] * powers[1, y] * powers[2, z]
        if y > 0:
            tangent[m, 1] += y * powers[0, x] * powers[1, y - 1] * powers[2, z]
        if z > 0:
            tangent[m, 2] += z * powers[0, x] * powers[1, y] * powers[2, z - 1]
        for axis in range(3):
            tangent[m, axis] *= inverse


@nb.njit(cache=True, nogil=True)
def accumulate_moments(
    offsets: IntArray,
    vector: FloatArray,
    distance: FloatArray,
    block: IntArray,
    radial: FloatArray,
    exponents: IntArray,
    moments: FloatArray,
) -> None:
    """Add radial(r) u^exponent of every edge to the moments of its centre.

    offsets (C+1,): edges of centre i are offsets[i]:offsets[i+1]; block (E,): the first column of
    ``moments`` that belongs to the neighbour's species; radial (E, B); moments (C, M, S*B), added to in
    place.
    """
    n_monomials, n_radial = exponents.shape[0], radial.shape[1]
    value = np.empty(n_monomials)
    tangent = np.empty((n_monomials, 3))
    for i in range(offsets.size - 1):
        for e in range(offsets[i], offsets[i + 1]):
            _monomials(vector[e], distance[e], exponents, value, tangent)
            for m in range(n_monomials):
                for b in range(n_radial):
                    moments[i, m, block[e] + b] += value[m] * radial[e, b]


@nb.njit(cache=True, nogil=True)
def accumulate_derivatives(
    vector: FloatArray,
    distance: FloatArray,
    sign: float,
    environment: IntArray,
    row: IntArray,
    radial: FloatArray,
    slope: FloatArray,
    sensitivity: FloatArray,
    exponents: IntArray,
    degree: IntArray,
    out: FloatArray,
) -> None:
    """Add sign * d(invariants of one environment)/d(vector of one of its edges) to row[e] of ``out``, for
    every edge.

    radial, slope (E, C): mixed radial functions and their derivatives by r; environment (E,): index into
    sensitivity (H, M, C) = d(invariant)/d(moment); degree (M,): of each monomial; out (R, d, n_degrees * C).
    """
    n_monomials, n_channels = exponents.shape[0], radial.shape[1]
    value = np.empty(n_monomials)
    tangent = np.empty((n_monomials, 3))
    for e in range(row.size):
        _monomials(vector[e], distance[e], exponents, value, tangent)
        h = environment[e]
        for axis in range(out.shape[1]):
            direction = sign * vector[e, axis] / distance[e]
            for m in range(n_monomials):
                along = direction * value[m]
                across = sign * tangent[m, axis]
                first = degree[m] * n_channels
                target = out[row[e], axis, first : first + n_channels]
                for c in range(n_channels):
                    target[c] += sensitivity[h, m, c] * (slope[e, c] * along + radial[e, c] * across)


@nb.njit(cache=True, nogil=True)
def accumulate_rows(
    product: FloatArray,
    target: IntArray,
    source: IntArray,
    derivative: FloatArray,
    first_target: int,
    first_source: int,
    rows: FloatArray,
) -> None:
    """Add product[k] * derivative[source[k]] to rows[target[k]], feature by feature.

    product (R, d, K); derivative (H, >= first_source + K): tanh' of every feature in every environment;
    rows (C, d, >= first_target + K), added to in place.
    """
    n_features = product.shape[2]
    for k in range(target.size):
        factor = derivative[source[k], first_source : first_source + n_features]
        for axis in range(product.shape[1]):
            result = rows[target[k], axis, first_target : first_target + n_features]
            term = product[k, axis]
            for f in range(n_features):
                result[f] += term[f] * factor[f]


@nb.njit(cache=True, nogil=True)
def scatter_forces(
    offsets: IntArray,
    centres: IntArray,
    neighbour: IntArray,
    vector: FloatArray,
    distance: FloatArray,
    block: IntArray,
    radial: FloatArray,
    slope: FloatArray,
    pull: FloatArray,
    exponents: IntArray,
    gradient: FloatArray,
    virial: FloatArray,
) -> None:
    """Add dE/dq to ``gradient`` (N, d) and -dE/d(strain) to ``virial`` (d, d), given pull (C, M, S*B) =
    dE/d(moment) of the environment of each centre.

    Each edge pushes its centre one way and its neighbour the other, so the total vanishes whatever the
    rounding. Strain stretches the edge's vector, so the virial is minus its dyadic product with the push.
    """
    n_monomials, n_radial = exponents.shape[0], radial.shape[1]
    dim = gradient.shape[1]
    value = np.empty(n_monomials)
    tangent = np.empty((n_monomials, 3))
    force = np.empty(3)
    for i in range(offsets.size - 1):
        for e in range(offsets[i], offsets[i + 1]):
            _monomials(vector[e], distance[e], exponents, value, tangent)
            force[:] = 0.0
            along = 0.0
            for m in range(n_monomials):
                weight = 0.0
                rate = 0.0
                for b in range(n_radial):
                    weight += pull[i, m, block[e] + b] * radial[e, b]
                    rate += pull[i, m, block[e] + b] * slope[e, b]
                along += rate * value[m]
                for axis in range(dim):
                    force[axis] += weight * tangent[m, axis]
            for axis in range(dim):
                push = force[axis] + along * vector[e, axis] / distance[e]
                gradient[centres[i], axis] += push
                gradient[neighbour[e], axis] -= push
                for other in range(dim):
                    virial[other, axis] -= vector[e, other] * push
