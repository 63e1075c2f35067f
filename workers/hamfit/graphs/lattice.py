"""Lattices of any number of periodic directions, completed to three vectors.

Kernels want three independent lattice vectors, whatever the dimension of the frame and whichever of its
directions are periodic. The missing ones are unit vectors at right angles to the periodic ones, so that
heights and fractional coordinates along periodic directions are those of the periodic lattice alone. What a
frame says about the box along its open directions is ignored: such rows are often zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hamfit.errors import GraphError
from hamfit.frames import Frame
from hamfit.types import FloatArray, IntArray

_SMALLEST_HEIGHT_RATIO = 1e-10
"""A cell flatter than this part of its longest entry counts as singular; arbitrary, far above rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """Three independent vectors, some of which repeat."""

    vectors: FloatArray
    """Lattice vectors as rows, (3, 3)."""
    inverse: FloatArray
    """Inverse of ``vectors``: fractional coordinates are ``q @ inverse``, (3, 3)."""
    heights: FloatArray
    """Distance between opposite faces of the cell, (3,)."""
    periodic: IntArray
    """1 where the direction repeats, else 0, (3,)."""

    @classmethod
    def of(cls, frame: Frame) -> Lattice:
        """The lattice of a frame. Raises GraphError for periodic vectors not finite or dependent."""
        vectors = np.zeros((3, 3))
        periodic = np.zeros(3, dtype=np.int64)
        for k, repeats in enumerate(frame.periodic):
            if repeats and frame.box is not None:
                vectors[k, : frame.dim] = frame.box[k]
                periodic[k] = 1
        if not np.isfinite(vectors).all():
            raise GraphError("box has entries that are not finite: give the lattice vectors as finite numbers")
        repeating = vectors[periodic == 1]
        least = np.linalg.svd(repeating, compute_uv=False).min(initial=np.inf)
        if not least > _SMALLEST_HEIGHT_RATIO * np.abs(repeating).max(initial=0.0):
            raise GraphError(
                f"box is singular: its periodic vectors {repeating.tolist()} span no volume; give independent ones"
            )
        _complete(vectors, periodic)
        inverse: FloatArray = np.linalg.inv(vectors).astype(np.float64)
        return cls(vectors, inverse, 1.0 / np.sqrt((inverse**2).sum(axis=0)), periodic)

    def translations(self, images: IntArray, axes: IntArray | None = None) -> FloatArray:
        """Sums of -images .. images times the vectors, (T, 3), to the bits of ``kernels.cells``.

        images (3,) belong to ``axes`` (3,), a permutation of 0, 1, 2 that orders the sums: the last one runs fastest.
        """
        boxes = np.stack(np.meshgrid(*(np.arange(-k, k + 1.0) for k in images), indexing="ij"), axis=-1).reshape(-1, 3)
        b, vectors = boxes[:, slice(None) if axes is None else np.argsort(axes)][:, :, None], self.vectors
        return np.ascontiguousarray(b[:, 0] * vectors[0] + b[:, 1] * vectors[1] + b[:, 2] * vectors[2])


def padded(values: FloatArray) -> FloatArray:
    """Vectors (N, d) with zeros up to three axes, (N, 3)."""
    out = np.zeros((len(values), 3))
    out[:, : values.shape[1]] = values
    return out


def _complete(vectors: FloatArray, periodic: IntArray) -> None:
    """Fill the open rows with unit vectors at right angles to all others, as near to the axes as may be.

    Gram-Schmidt on the axes rather than a null space from the SVD: an open or an orthogonal box then keeps
    the axes.
    """
    basis = [np.zeros(3)] * 0
    for v in vectors[periodic == 1]:
        basis.append(_unit(v, basis))
    for k in np.flatnonzero(periodic == 0):
        axes = [np.eye(3)[(k + shift) % 3] for shift in range(3)]
        lengths = [float(np.linalg.norm(_residual(axis, basis))) for axis in axes]
        vectors[k] = _unit(axes[int(np.argmax(np.round(lengths, 9)))], basis)
        basis.append(vectors[k])


def _residual(v: FloatArray, basis: list[FloatArray]) -> FloatArray:
    for _ in range(2):  # once more against rounding, for cells that are nearly flat
        for b in basis:
            v = v - (v @ b) * b
    return v


def _unit(v: FloatArray, basis: list[FloatArray]) -> FloatArray:
    residual = _residual(v, basis)
    return np.asarray(residual / np.linalg.norm(residual), dtype=np.float64)
