"""Cutoffs as people write them: one number, or one for each pair of species."""

from __future__ import annotations

import math

import numpy as np

from hamfit.errors import SpecError
from hamfit.graphs.channels import species_pairs
from hamfit.types import FloatArray


def parse_cutoffs(text: str, labels: tuple[str, ...]) -> FloatArray:
    """Cutoff of each pair of species, (S, S), symmetric, in the length unit of the data.

    text: ``"2.5"`` for all pairs, or ``"1-1=2.5,1-2=2.0,2-2=0"`` with every pair once, in either order; 0
    means that the two species do not interact. Labels may contain hyphens. Raises SpecError for text that
    is not of this form, unknown species, pairs that are missing or named twice, and numbers that are
    negative, not finite or all zero.
    """
    n = len(labels)
    cutoffs = np.full((n, n), np.nan)
    if "=" not in text:
        cutoffs[:] = _length(text, text)
    else:
        names = {f"{labels[a]}-{labels[b]}": (a, b) for a in range(n) for b in range(n)}
        for part in text.split(","):
            name, equals, number = (piece.strip() for piece in part.partition("="))
            if not equals:
                example = ",".join(f"{labels[a]}-{labels[b]}=2.5" for a, b in species_pairs(n))
                raise SpecError(f"cutoff {part.strip()!r} names no pair: write it as {example}")
            if name not in names:
                raise SpecError(f"cutoff {part.strip()!r} names an unknown pair: the species are {', '.join(labels)}")
            a, b = names[name]
            if not math.isnan(cutoffs[a, b]):
                raise SpecError(f"cutoff of {name} is given twice: give it once")
            cutoffs[a, b] = cutoffs[b, a] = _length(number, part.strip())
    missing = [f"{labels[a]}-{labels[b]}" for a, b in species_pairs(n) if math.isnan(cutoffs[a, b])]
    if missing:
        raise SpecError(f"cutoff of {', '.join(missing)} is missing: give it, or 0 where there is no interaction")
    if not cutoffs.any():
        raise SpecError(f"cutoff {text!r} joins no particles: give at least one pair a positive length")
    return cutoffs


def _length(number: str, where: str) -> float:
    try:
        length = float(number)
    except ValueError:
        raise SpecError(f"cutoff {where!r} has no number: write a length such as 2.5") from None
    if not 0 <= length < math.inf:
        raise SpecError(f"cutoff {where!r} is not a finite length: give a positive number, or 0 for no interaction")
    return length
