"""The messages of one standard queue, indexed so that no operation scans all of them.

This module knows nothing of HTTP, the disk or the clock: every method receives the time (`now`, in
seconds), and messages are whatever the caller puts in. The caller also provides the locking.

    DELAYED ──time──> VISIBLE ──take──> IN_FLIGHT ──delete──> gone
                         ^                  │
                         └──time, release───┘         any state ──retention──> gone
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from itertools import count
from typing import Generic, TypeVar

M = TypeVar("M")
Item = TypeVar("Item", bound=Hashable)

# A smaller heap is not worth rebuilding, even if most of its entries are stale.
SMALLEST_REBUILD = 64


class State(Enum):
    """The state of a message."""

    DELAYED = auto()
    """Sent, but not available before its delay is over."""
    VISIBLE = auto()
    """Available to the next receive."""
    IN_FLIGHT = auto()
    """Received, and hidden until its visibility timeout is over."""


@dataclass(eq=False, slots=True)
class Entry(Generic[M]):
    """A message and its state; `received_at` is the time of the last receive in seconds."""

    id: str
    message: M
    state: State
    received_at: float = 0.0


class MessageIndex(Generic[M]):
    """Visible messages in a deque, others in a schedule, all of them by id, with counts.

    A visible message that is deleted stays in the deque, and is skipped when its turn comes.
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry[M]] = {}
        self._visible: deque[Entry[M]] = deque()
        self._hidden: Schedule[Entry[M]] = Schedule()
        self._by_age: Schedule[Entry[M]] = Schedule()
        self._counts: Counter[State] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def count(self, state: State) -> int:
        """How many messages are in `state`, as of the last `advance`."""
        return self._counts[state]

    def get(self, message_id: str) -> Entry[M] | None:
        """The entry of a message that still exists."""
        return self._entries.get(message_id)

    def put(
        self,
        message_id: str,
        message: M,
        *,
        sent_at: float,
        visible_at: float,
        received_at: float | None = None,
    ) -> None:
        """Add a message; it is hidden until the next `advance` that reaches `visible_at`.

        With `received_at` it has been in flight since then, else it is delayed.
        """
        state = State.DELAYED if received_at is None else State.IN_FLIGHT
        entry = Entry(message_id, message, state, received_at or 0.0)
        self._entries[message_id] = entry
        self._counts[state] += 1
        self._by_age.set(entry, sent_at)
        self._hidden.set(entry, visible_at)

    def advance(self, now: float, retention: float) -> list[Entry[M]]:
        """Advance the clock: show messages whose time has come; drop and return expired ones.

        A message expires `retention` seconds after it was sent.
        """
        expired = list(self._by_age.pop_due(now - retention))
        for entry in expired:
            self._forget(entry)
        for entry in self._hidden.pop_due(now):
            self._move(entry, State.VISIBLE)
            self._visible.append(entry)
        return expired

    def next_change(self) -> float:
        """When a hidden message will be visible unless something happens; infinity if none is."""
        return self._hidden.earliest()

    def take(self, now: float, hidden_until: float) -> Entry[M] | None:
        """Put the next visible message in flight; None if there is none."""
        while self._visible:
            entry = self._visible.popleft()
            if entry.id not in self._entries:
                continue
            self._move(entry, State.IN_FLIGHT)
            entry.received_at = now
            self._hidden.set(entry, hidden_until)
            return entry
        return None

    def hide_until(self, entry: Entry[M], time: float) -> None:
        """Change when a message in flight becomes visible; takes effect at the next `advance`."""
        self._hidden.set(entry, time)

    def remove(self, entry: Entry[M]) -> None:
        """Remove a message for good."""
        self._by_age.discard(entry)
        self._forget(entry)

    def _forget(self, entry: Entry[M]) -> None:
        self._hidden.discard(entry)
        del self._entries[entry.id]
        self._counts[entry.state] -= 1

    def _move(self, entry: Entry[M], state: State) -> None:
        self._counts[entry.state] -= 1
        self._counts[state] += 1
        entry.state = state


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
