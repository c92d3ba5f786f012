"""The event loop of a command, for everything that moves many objects or messages.

    wire.run(lambda clients: send(clients.store(bucket), uploads))

One thread does everything, so what the coroutines share needs no locks. The rest of a command
blocks, and uses boto3; `parallelize_core.async_clients` says what uses which.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

from parallelize_core.async_clients import AsyncClients
from parallelize_core.bucket_terms import NO_TERMS, Terms

if TYPE_CHECKING:
    from parallelize_core.clients import Session

Item = TypeVar("Item")
Made = TypeVar("Made")

PARTS_AT_ONCE = 4
"""Parts of large files, each of which takes 16 MiB of memory while it is sent."""

AT_ONCE = 32
"""Concurrent calls: enough to hide a bucket's latency of some 30 ms."""


class Wire:
    """A loop, and the connections that it keeps from one use to the next."""

    def __init__(self, session: Session, terms: Terms = NO_TERMS) -> None:
        self._runner = asyncio.Runner()
        self._session = session
        self._terms = terms
        self._clients: AsyncClients | None = None
        # The threads of a dashboard's server take turns.
        self._turn = RLock()

    def run(self, work: Callable[[AsyncClients], Coroutine[Any, Any, Made]]) -> Made:
        """Run `work` on the loop, and return its result; ctrl-C cancels it."""
        with self._turn:
            return self._runner.run(self._do(work))

    async def _do(self, work: Callable[[AsyncClients], Coroutine[Any, Any, Made]]) -> Made:
        if self._clients is None:
            self._clients = AsyncClients.of_session(self._session, PARTS_AT_ONCE, terms=self._terms)
            weakref.finalize(self, _close, self._runner.get_loop(), self._clients)
        try:
            return await work(self._clients)
        finally:
            await self._clients.settled()


def _close(loop: asyncio.AbstractEventLoop, clients: AsyncClients) -> None:
    clients.abort()
    loop.close()


async def in_flight(
    do: Callable[[Item], Awaitable[Made]], items: Iterable[Item], at_once: int = AT_ONCE
) -> None:
    """Do something to each item, `at_once` at a time; the first error cancels everything running.

    Items are taken one by one, when there is room for them.
    """
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await do(item)

    tasks = [asyncio.create_task(work()) for _ in range(at_once)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
