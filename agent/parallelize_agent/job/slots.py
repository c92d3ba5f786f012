"""The places in which commands run, and the line of those who wait for one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Slots:
    """Numbered from 0, and given in the order of asking.

    Who has to be alone gets all of them: it waits until the last is free, and those behind it
    wait too, so it cannot starve; nor can they, as the line is served in order.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = list(range(count))
        self._line: deque[object] = deque()
        self._changed = threading.Condition()

    def take(self, *, alone: bool, wanted: Callable[[], bool]) -> tuple[int, ...]:
        """Wait for a slot, or for all if `alone`; return none once it is not `wanted` any more."""
        need = self._count if alone else 1
        ticket = object()
        with self._changed:
            self._line.append(ticket)
            self._changed.wait_for(lambda: self._is_turn(ticket, need) or not wanted())
            is_turn = self._is_turn(ticket, need)
            taken = tuple(self._free.pop(0) for _ in range(need)) if is_turn else ()
            self._line.remove(ticket)
            self._changed.notify_all()
            return taken

    def give(self, slots: tuple[int, ...]) -> None:
        """Give back what `take` has given."""
        with self._changed:
            self._free = sorted((*self._free, *slots))
            self._changed.notify_all()

    def wake(self) -> None:
        """Have those in the line look again whether they are still wanted."""
        with self._changed:
            self._changed.notify_all()

    def _is_turn(self, ticket: object, need: int) -> bool:
        return self._line[0] is ticket and len(self._free) >= need
