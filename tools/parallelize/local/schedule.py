"""Finds which of many items is due without scanning the others."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from itertools import count
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)

# A smaller heap is not worth rebuilding, even if most of its entries are stale.
SMALLEST_REBUILD = 64


class Schedule(Generic[Item]):
    """Items with one time each, in seconds; the earliest first, equal times in order of entry.

    An item that is rescheduled or discarded leaves a dead entry in the heap. Dead entries are
    skipped when they come up, and the heap is rebuilt when they outnumber the living, so every
    operation costs O(log n) on average and memory follows the number of items.
    """

    def __init__(self) -> None:
        self._entries: dict[Item, tuple[float, int, Item]] = {}
        self._heap: list[tuple[float, int, Item]] = []
        self._serial = count()

    def __len__(self) -> int:
        return len(self._entries)

    def set(self, item: Item, time: float) -> None:
        """Schedule `item`, replacing its earlier time."""
        entry = (time, next(self._serial), item)
        self._entries[item] = entry
        heapq.heappush(self._heap, entry)
        self._drop_leftovers()

    def discard(self, item: Item) -> None:
        """Remove `item`, if it is here."""
        self._entries.pop(item, None)
        self._drop_leftovers()

    def earliest(self) -> float:
        """When the next item is due; infinity if there is none."""
        while self._heap and not self._is_current(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else float("inf")

    def pop_due(self, now: float) -> Iterator[Item]:
        """Remove and yield the items whose time is `now` or earlier."""
        while self.earliest() <= now:
            item = heapq.heappop(self._heap)[2]
            del self._entries[item]
            yield item

    def _is_current(self, entry: tuple[float, int, Item]) -> bool:
        return self._entries.get(entry[2]) is entry

    def _drop_leftovers(self) -> None:
        if len(self._heap) > 2 * len(self._entries) + SMALLEST_REBUILD:
            self._heap = list(self._entries.values())
            heapq.heapify(self._heap)
