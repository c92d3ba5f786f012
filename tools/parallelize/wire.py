"""The event loop of a command, for everything that moves many objects or messages.

    wire.run(lambda clients: send(clients.store(bucket), uploads))

One thread does everything, so what the coroutines share needs no locks. The rest of a command
blocks, and uses boto3; single calls are made here, too, if nothing else needs that (`is_quick`).
"""

from __future__ import annotations

import asyncio
import re
import resource
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import RLock, get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from parallelize_core.async_clients import AsyncClients
from parallelize_core.bucket_terms import NO_TERMS, Terms
from parallelize_core.errors import MissingError, ParallelizeError
from parallelize_core.outlast import BUSY, outlast
from parallelize_core.transport.plain import Plain

if TYPE_CHECKING:
    from parallelize_core.clients import Session

Item = TypeVar("Item")
Made = TypeVar("Made")

PARTS_AT_ONCE = 4
"""Parts of large files: with eight, a download on two cores takes about twice as long."""

AT_ONCE = 64
"""Concurrent calls, or groups of small ones: see `Pace`."""

FILES = 128
"""Descriptors that connections leave for everything else; a process on macOS has 256 in all."""

LOOK_SECONDS = 0.02
"""How often to check whether the process waits; a bucket's answers usually take 30 ms."""

TOGETHER_SECONDS = 1.0
"""How long calls go together once the process has waited; then it is checked again."""

BUSY_SHARE = 0.75
"""A process waits if it works for less than this share of the time, all its threads together.

With a server on the same machine it worked 92 % and more, with answers after 30 ms some 45 %.
"""


class Wire:
    """A loop, and the connections that it keeps from one use to the next."""

    def __init__(
        self, session: Callable[[], Session], terms: Terms = NO_TERMS, plain: Plain | None = None
    ) -> None:
        self._runner = asyncio.Runner()
        self._session = session
        self._terms = terms
        self._plain = plain
        self._thread = get_ident()
        self._clients: AsyncClients | None = None
        self._task: asyncio.Task[None] | None = None
        # The threads of a dashboard's server take turns.
        self._turn = RLock()

    @property
    def is_quick(self) -> bool:
        """Whether a single call is quicker here than by boto3, which would have to be imported.

        Other threads wait for each other here, so theirs are not; and what already runs on a loop
        cannot wait for this one.
        """
        return self._plain is not None and get_ident() == self._thread and not _is_on_loop()

    def client(self, calls: Mapping[str, Call], make: Callable[[], Any]) -> Any:
        """Return a client like that of boto3, which `make` makes when it is needed."""
        return _LateClient(self, calls, make)

    def run(self, work: Callable[[AsyncClients], Coroutine[Any, Any, Made]]) -> Made:
        """Run `work` on the loop, and return its result; ctrl-C cancels it."""
        made: list[Made] = []
        with self._turn:
            try:
                self._complete(self._do(work, made))
                return made[0]
            except ParallelizeError as error:
                # Its traceback has the frame that has the task that has the error. Until this
                # circle is collected, it keeps what its callers have: of a look, all results.
                error.__traceback__ = None
                raise

    def _complete(self, work: Coroutine[Any, Any, None]) -> None:
        if not _is_on_loop():
            self._runner.run(work)
            return
        # A thread can run one loop at a time. That of a notebook's cells runs the kernel's.
        with ThreadPoolExecutor(1, "wire") as thread:
            # Ctrl-C while a thread starts would leave it alone, so it starts with nothing to do.
            thread.submit(int).result()
            try:
                thread.submit(self._runner.run, work).result()
            except BaseException:
                if task := self._task:
                    self._runner.get_loop().call_soon_threadsafe(task.cancel)
                raise

    def ask(self, call: Callable[[AsyncClients], Coroutine[Any, Any, Made]]) -> Made:
        """Make a single call on the loop, which is repeated while it is throttled.

        For as long as boto3 would: a call of many is given up sooner, because others wait for it.
        """
        return outlast(BUSY, lambda: self.run(call))

    async def _do(
        self, work: Callable[[AsyncClients], Coroutine[Any, Any, Made]], made: list[Made]
    ) -> None:
        """Do the work, and put what it returns into `made`.

        If the task returned it, asyncio's Runner would format all of it: looking up the handler of
        ctrl-C raises an error within, whose text has the task, and with it the result.
        """
        self._task = asyncio.current_task()
        if self._clients is None:
            self._clients = AsyncClients(
                self._opened, PARTS_AT_ONCE, terms=self._terms, plain=self._plain
            )
        try:
            made.append(await work(self._clients))
        finally:
            await self._clients.settled()
            self._task = None  # it has its error, and that its frames: see `run`

    def __del__(self) -> None:
        # weakref.finalize would keep the clients; they refer to this wire, which would never be
        # freed, and no connection closed.
        if self._clients is not None and not self._runner.get_loop().is_closed():
            _close(self._runner.get_loop(), self._clients)

    def _opened(self) -> Any:
        # boto3's session is made of botocore's.
        return vars(self._session())["_session"]


def _is_on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _close(loop: asyncio.AbstractEventLoop, clients: AsyncClients) -> None:
    clients.abort()
    loop.close()


Call = Callable[[AsyncClients, dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]]
"""A call by its parameters, which returns or raises what boto3's method and `translated` do."""


class _LateClient:
    """A client of boto3 that is made when it is needed; the wire does what it can do itself."""

    def __init__(self, wire: Wire, calls: Mapping[str, Call], make: Callable[[], Any]) -> None:
        self._wire, self._calls, self._make = wire, calls, make

    def __getattr__(self, name: str) -> Any:
        call = self._calls.get(name)
        if call is None or not self._wire.is_quick:
            return getattr(self._make(), name)
        return lambda **parameters: self._wire.ask(lambda clients: call(clients, parameters))


async def _head_bucket(clients: AsyncClients, parameters: dict[str, Any]) -> dict[str, Any]:
    name = parameters["Bucket"]
    region = await clients.store(name).region()
    if region is None:
        raise MissingError(f"s3://{name} does not exist")
    return {"BucketRegion": region}


def _of_sqs(action: str) -> Call:
    return lambda clients, parameters: clients.ask_sqs(action, parameters)


S3_CALLS: Mapping[str, Call] = {"head_bucket": _head_bucket}

SQS_CALLS: Mapping[str, Call] = {
    re.sub("(?<!^)([A-Z])", r"_\1", action).lower(): _of_sqs(action)
    for action in (
        "CreateQueue", "GetQueueAttributes", "GetQueueUrl", "ListQueueTags",
        "SetQueueAttributes", "TagQueue",
    )
}  # fmt: skip
"""Calls that may be repeated, so that it does no harm if an answer is lost."""


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

    await all_of(work() for _ in range(at_once))


async def all_of(calls: Iterable[Awaitable[Made]]) -> list[Made]:
    """Make calls at the same time, and return their results; the first error cancels the others.

    Left alone, they would go on during whatever the command does next on the loop.
    """
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


class Pace:
    """Makes a group of small calls one after the other, or at once while the process only waits.

    Where an answer takes long, most calls have to be under way at the same time, and with them
    connections; where the processor is the limit, more connections only cost more of it.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        worked: Callable[[], float] = time.process_time,
    ) -> None:
        self._clock, self._worked = clock, worked
        self._looked = clock(), worked()
        self._until = 0.0
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        limited = descriptors != resource.RLIM_INFINITY
        self._at_once = max(1, (descriptors - FILES) // AT_ONCE) if limited else AT_ONCE

    def waits(self) -> bool:
        """Check whether the process mostly waits when it makes one call after the other."""
        since, worked = self._looked
        now = self._clock()
        if now < self._until:
            # Together, calls keep it busy however long each takes.
            self._looked = now, self._worked()
        elif now - since >= LOOK_SECONDS:
            self._looked = now, self._worked()
            if self._looked[1] - worked < BUSY_SHARE * (now - since):
                self._until = now + TOGETHER_SECONDS
        return now < self._until

    async def each(self, do: Callable[[Item], Awaitable[None]], items: Sequence[Item]) -> None:
        """Do something to each item of a group; the first error cancels everything running."""
        for number, item in enumerate(items):
            if self.waits():
                rest = items[number:]
                await in_flight(do, rest, min(len(rest), self._at_once))
                return
            await do(item)
