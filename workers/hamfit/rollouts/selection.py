"""Which frames of a trajectory are meant: "0", "0,10,-1", "first:last:step" or "all"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hamfit.errors import DataError, SpecError

_NUMBER = r"[+-]?\d+"
_LIST = re.compile(rf"{_NUMBER}(,{_NUMBER})*")
_RANGE = re.compile(rf"({_NUMBER})?:({_NUMBER})?(?::(\d+)?)?")


@dataclass(frozen=True, slots=True)
class FrameSelection:
    """Frame numbers, those below 0 counted from the end; a list, or a range that includes both its ends."""

    text: str
    """As it was written."""
    numbers: tuple[int, ...] = ()
    """The list; empty for a range."""
    first: int = 0
    last: int = -1
    step: int = 1

    @classmethod
    def parse(cls, text: str) -> FrameSelection:
        """Read a selection; SpecError when it cannot be read."""
        bare = re.sub(r"\s+", "", text)
        if bare.lower() == "all":
            return cls(text)
        if _LIST.fullmatch(bare):
            return cls(text, tuple(int(number) for number in bare.split(",")))
        found = _RANGE.fullmatch(bare)
        if found and found[3] != "0":
            return cls(text, (), int(found[1] or 0), int(found[2] or -1), int(found[3] or 1))
        raise SpecError(
            f"frames '{text}' cannot be read: write 0,10,20, or first:last:step with step 1 or more, or all"
        )

    def of(self, n_frames: int, where: str) -> Sequence[int]:
        """The numbers, from 0, in a trajectory of so many frames.

        Raises:
            DataError: one of them does not exist; `where` names the trajectory.
            SpecError: a frame is named twice, or a range ends before it begins.

        """
        if not self.numbers:
            first, last = (self._existing(number, n_frames, where) for number in (self.first, self.last))
            if last < first:
                raise SpecError(f"{where}: frames '{self.text}' end at {last}, before they begin at {first}: swap them")
            return range(first, last + 1, self.step)
        chosen = tuple(self._existing(number, n_frames, where) for number in self.numbers)
        if len(set(chosen)) < len(chosen):
            raise SpecError(f"{where}: frames '{self.text}' name a frame twice: name each once")
        return chosen

    def _existing(self, number: int, n_frames: int, where: str) -> int:
        index = number + n_frames if number < 0 else number
        if not 0 <= index < n_frames:
            raise DataError(f"{where}: frame {number} does not exist: it has {n_frames} frames, 0 to {n_frames - 1}")
        return index
