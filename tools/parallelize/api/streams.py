"""Outcomes one by one, while the run goes on: for `for` and for `async for`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from queue import SimpleQueue

from parallelize.api.calls import Call
from parallelize.api.outcome import Outcome
from parallelize.api.sources import Source

Told = tuple[int, Outcome] | BaseException | None
"""An outcome with its number; the error that ended the call; or None at its end."""


class Stream:
    """The outcomes of one call, to iterate over once, with `for` or `async for`.

    A thread carries out the run, from the first iteration on. If the loop is left early, the run
    goes on as long as this process lives; the same call continues it later.
    """

    def __init__(
        self,
        call: Call,
        source: Callable[[], AbstractContextManager[Source]],
        *,
        ordered: bool = False,
    ) -> None:
        self._call = call
        self._source = source
        self._ordered = ordered
        self._told: SimpleQueue[Told] = SimpleQueue()

    def __iter__(self) -> Iterator[Outcome]:
        """Carry out the run, and yield each outcome; raises what `map` raises."""
        self._start()
        order = InOrder() if self._ordered else None
        while (told := self._told.get()) is not None:
            yield from _ready(told, order)

    async def __aiter__(self) -> AsyncIterator[Outcome]:
        """Do the same without blocking the event loop between two outcomes."""
        self._start()
        order = InOrder() if self._ordered else None
        while (told := await asyncio.to_thread(self._told.get)) is not None:
            for outcome in _ready(told, order):
                yield outcome

    def _start(self) -> None:
        # A daemon thread: a program that ends does not wait for a run that nobody listens to.
        threading.Thread(target=self._carry, name="parallelize", daemon=True).start()

    def _carry(self) -> None:
        try:
            with self._source() as source:
                self._call.follow(source, lambda number, outcome: self._told.put((number, outcome)))
            self._told.put(None)
        except BaseException as error:
            self._told.put(error)


class InOrder:
    """Holds outcomes back until all before them have come."""

    def __init__(self) -> None:
        self._held: dict[int, Outcome] = {}
        self._next = 0

    def __call__(self, number: int, outcome: Outcome) -> Iterator[Outcome]:
        """Take one, and yield those whose turn it is."""
        self._held[number] = outcome
        while self._next in self._held:
            yield self._held.pop(self._next)
            self._next += 1


def _ready(told: tuple[int, Outcome] | BaseException, order: InOrder | None) -> Iterator[Outcome]:
    if isinstance(told, BaseException):
        raise told
    return order(*told) if order else iter([told[1]])
