"""Cutoffs as people write them: `2.5`, or `1-1=2.5,1-2=2.0,2-2=2.2` with the data's own species labels.

Reading happens in two steps, because labels are known only once the data are open: `parse_cutoff` checks the
grammar, `cutoff_table` joins it with the labels of a dataset.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from hamfit.errors import SpecError

if TYPE_CHECKING:
    from hamfit.types import FloatArray

Cutoff: TypeAlias = "float | tuple[tuple[str, float], ...]"
"""One distance for all pairs, or (`"A-B"`, distance) for each pair written."""

_EXAMPLE = "write 2.5, or one per pair of species such as 1-1=2.5,1-2=2.0"


def parse_cutoff(value: str | float) -> Cutoff:
    """Read a cutoff; distances are positive and finite, in the data's unit of length.

    Raises:
        SpecError: the text is neither a number nor a list of `A-B=distance`.

    """
    if not isinstance(value, str):
        return _distance(value)
    text = value.strip()
    if "=" not in text:
        return _distance(text)
    pairs = []
    for part in text.split(","):
        pair, separator, distance = part.strip().rpartition("=")
        if not separator or "-" not in pair:
            raise SpecError(f"cutoff '{part.strip()}' is not a pair of species and a distance; {_EXAMPLE}")
        pairs.append((pair.strip(), _distance(distance)))
    return tuple(pairs)


def cutoff_table(value: str | float, labels: Sequence[str]) -> FloatArray:
    """Cutoffs of all pairs of species.

    Args:
        value: as for `parse_cutoff`; pairs that are not written do not interact.
        labels: the S species labels of the data.

    Returns:
        Symmetric (S, S) float64 table; 0 where a pair does not interact.

    Raises:
        SpecError: a pair names a species that the data do not have, or is written twice with two distances.

    """
    import numpy as np

    cutoff = parse_cutoff(value)
    count = len(labels)
    if isinstance(cutoff, float):
        return np.full((count, count), cutoff)
    table = np.zeros((count, count))
    for pair, distance in cutoff:
        first, second = _split_pair(pair, labels)
        if table[first, second] not in (0.0, distance):
            raise SpecError(f"cutoff of pair '{pair}' is given twice with two distances; keep one of them")
        table[first, second] = table[second, first] = distance
    return table


def _distance(value: str | float) -> float:
    try:
        distance = float(value)
    except (TypeError, ValueError) as error:
        raise SpecError(f"cutoff '{value}' is not a distance; {_EXAMPLE}") from error
    if not (math.isfinite(distance) and distance > 0.0):
        raise SpecError(f"cutoff '{value}' must be a positive, finite distance; {_EXAMPLE}")
    return distance


def _split_pair(pair: str, labels: Sequence[str]) -> tuple[int, int]:
    # A label may itself hold a hyphen (C-alpha), so every hyphen is tried as the separator.
    known = {label: index for index, label in enumerate(labels)}
    for place, letter in enumerate(pair):
        if letter == "-":
            first, second = pair[:place].strip(), pair[place + 1 :].strip()
            if first in known and second in known:
                return known[first], known[second]
    raise SpecError(f"cutoff pair '{pair}' names an unknown species; the data have {', '.join(labels)}")
