"""The order of merging: a fixed binary tree over the shards of each group.

Leaf 2i merges with leaf 2i + 1, and so on upwards. The tree depends on the plan alone, so neither the number of workers
nor the order in which they finish, nor a retry after a worker's death, changes a bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hamfit.fitting.shards import Shard


class MergeTree:
    """The fixed binary tree over the leaves of each group: knows which two states may merge next."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.group_of: dict[int, tuple[int, int]] = {}
        self.sizes: dict[int, int] = {}
        for shard in shards:
            place = self.sizes.get(shard.group, 0)
            self.group_of[shard.index] = (shard.group, place)
            self.sizes[shard.group] = place + 1
        self._waiting: dict[tuple[int, int, int], Any] = {}
        self.roots: dict[int, Any] = {}

    def add_leaf(self, shard: Shard, state: Any) -> tuple[tuple[int, int, int], Any, Any] | None:
        """Put a leaf's state in place; the next merge (node, left, right) if there is one."""
        group, place = self.group_of[shard.index]
        return self.add((group, 0, place), state)

    def add(self, node: tuple[int, int, int], state: Any) -> tuple[tuple[int, int, int], Any, Any] | None:
        """Put a node's state in place; the next merge (node, left, right) if both sides are there."""
        group, level, place = node
        while True:
            width = -(-self.sizes[group] // 2**level)
            if width == 1:
                self.roots[group] = state
                return None
            sibling = place ^ 1
            if sibling >= width:
                # the odd one out moves up unmerged
                level, place = level + 1, place // 2
                continue
            other = self._waiting.pop((group, level, sibling), None)
            if other is None:
                self._waiting[group, level, place] = state
                return None
            left, right = (state, other) if place < sibling else (other, state)
            return (group, level + 1, place // 2), left, right
