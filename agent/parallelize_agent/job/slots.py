"""The slots in which commands run, their threads, their memory, and the queue of waiting jobs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar, cast

from parallelize_agent.memory.admission import NOTHING_SAID, Memory, Need
from parallelize_core.clock import boot_seconds

T = TypeVar("T")


class Slots:
    """Slots, numbered from 0 and given out in the order of requests.

    A job that needs several waits until they are free, and those behind it wait too, so it
    cannot starve; nor can they, because requests are served in order. The same holds for one that
    waits for `memory`; without that, jobs only wait for slots.
    """

    def __init__(
        self,
        count: int,
        memory: Memory | None = None,
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        self.count = count
        self._memory = memory
        self._clock = clock
        self._began: float | None = None
        self._usual = NOTHING_SAID
        self._needs: dict[int, Need] = {}
        """The needs of the jobs that have slots, by their first slot."""
        self._free = list(range(count))
        self._line: deque[tuple[int, Need, asyncio.Future[tuple[int, ...]]]] = deque()

    @property
    def usable(self) -> int:
        """How many typical jobs may run at once, as far as memory is known."""
        if self._memory is None:
            return self.count
        running = self._needs.values()
        return self._memory.capacity(running, self._usual, self.count, self._seconds)

    async def take(self, need: int, memory: Need = NOTHING_SAID) -> tuple[int, ...]:
        """Wait for `need` slots, at most all of them, and for memory; `give` returns them."""
        # As it will be at its start, and without what the last attempt at this one has shown.
        self._usual = Need(memory.size, memory.promised)
        if not self._line and self._fits(need, memory):
            return self._grant(need, memory)
        turn: asyncio.Future[tuple[int, ...]] = asyncio.get_running_loop().create_future()
        self._line.append((need, memory, turn))
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.give(turn.result())
            self._serve()
            raise

    def give(self, slots: tuple[int, ...]) -> None:
        """Return what `take` has taken."""
        self._needs.pop(slots[0], None)
        self._free = sorted((*self._free, *slots))
        self._serve()

    def look_again(self) -> None:
        """Check again whether memory is free: jobs turned out to use less than expected."""
        self._serve()

    @property
    def _seconds(self) -> float:
        """How long ago the first job began."""
        return 0.0 if self._began is None else self._clock() - self._began

    def _fits(self, need: int, memory: Need) -> bool:
        if need > len(self._free):
            return False
        running = self._needs.values()
        rule = self._memory
        return rule is None or rule.admits(running, memory, self.count, self._seconds)

    def _grant(self, need: int, memory: Need) -> tuple[int, ...]:
        granted, self._free = self._free[:need], self._free[need:]
        self._needs[granted[0]] = memory
        if self._began is None:
            self._began = self._clock()
        return tuple(granted)

    def _serve(self) -> None:
        while self._line:
            need, memory, turn = self._line[0]
            if not turn.cancelled():
                if not self._fits(need, memory):
                    return
                turn.set_result(self._grant(need, memory))
            self._line.popleft()


class SlotThreads:
    """At most `count` threads, one for each thing that is being done; `begin` is called in each.

    An executor does the same, but its futures and their locks cost each job a third more.
    """

    def __init__(self, count: int, begin: Callable[[], None]) -> None:
        self._count = count
        self._begin = begin
        self._started = 0
        self._busy = 0
        self._wanted: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    async def run(self, do: Callable[[], T]) -> T:
        """Return what `do` returns in a thread; if this is cancelled, it goes on there."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: BaseException | None) -> None:
            self._busy -= 1
            if ended.cancelled():
                return
            if error is None:
                ended.set_result(cast("T", result))
            else:
                ended.set_exception(error)

        def work() -> None:
            result = error = None
            try:
                result = do()
            except BaseException as raised:
                error = raised
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, result, error)

        self._busy += 1
        if self._started < min(self._busy, self._count):
            Thread(target=self._live, name=f"slot_{self._started}", daemon=True).start()
            self._started += 1
        self._wanted.put(work)
        return await ended

    def close(self) -> None:
        """Let each thread end with what it does."""
        for _ in range(self._started):
            self._wanted.put(None)

    def _live(self) -> None:
        self._begin()
        while work := self._wanted.get():
            work()
            del work
