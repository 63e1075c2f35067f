"""The order of merging: a fixed binary tree over the shards of each group.

Leaf 2i merges with leaf 2i + 1, and so on upwards. The tree depends on the plan alone, so neither the number of workers
nor the order in which they finish, nor a retry after a worker's death, changes a bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from hamfit.fitting.shards import Shard

Node: TypeAlias = tuple[int, int, int]
"""Group, level and place there."""
Merge: TypeAlias = tuple[Node, Any, Any]
"""A node, and the two states that it is made of."""


class MergeTree:
    """The fixed binary tree over the leaves of each group: knows which two states may merge next."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.group_of: dict[int, tuple[int, int]] = {}
        self.sizes: dict[int, int] = {}
        for shard in shards:
            place = self.sizes.get(shard.group, 0)
            self.group_of[shard.index] = (shard.group, place)
            self.sizes[shard.group] = place + 1
        self._waiting: dict[Node, Any] = {}
        self.roots: dict[int, Any] = {}

    def add_leaf(self, shard: Shard, state: Any) -> Merge | None:
        """Put a leaf's state in place; the next merge (node, left, right) if there is one."""
        group, place = self.group_of[shard.index]
        return self.add((group, 0, place), state)

    def add(self, node: Node, state: Any) -> Merge | None:
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

    def merge_up(self, merge: Merge | None, function: Callable[[Any, Any], Any]) -> None:
        """Do a merge, and all those that it makes possible, here and now."""
        while merge is not None:
            node, left, right = merge
            merge = self.add(node, function(left, right))
