"""The places in which commands run, and the line of those who wait for one."""

from __future__ import annotations

import asyncio
from collections import deque


class Slots:
    """Numbered from 0, and given in the order of asking.

    A job that needs several waits until they are free, and those behind it wait too, so it
    cannot starve; nor can they, as the line is served in order.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = list(range(count))
        self._line: deque[tuple[int, asyncio.Future[tuple[int, ...]]]] = deque()

    async def take(self, need: int) -> tuple[int, ...]:
        """Wait for `need` slots, at most all of them; to be given back with `give`."""
        if not self._line and len(self._free) >= need:
            return self._grant(need)
        turn: asyncio.Future[tuple[int, ...]] = asyncio.get_running_loop().create_future()
        self._line.append((need, turn))
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.give(turn.result())
            self._serve()
            raise

    def give(self, slots: tuple[int, ...]) -> None:
        """Give back what `take` has given."""
        self._free = sorted((*self._free, *slots))
        self._serve()

    def _grant(self, need: int) -> tuple[int, ...]:
        granted, self._free = self._free[:need], self._free[need:]
        return tuple(granted)

    def _serve(self) -> None:
        while self._line:
            need, turn = self._line[0]
            if not turn.cancelled():
                if need > len(self._free):
                    return
                turn.set_result(self._grant(need))
            self._line.popleft()
