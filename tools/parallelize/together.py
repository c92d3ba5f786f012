"""Calls of S3 and SQS that do not depend on each other, made at the same time.

So a command waits for the network once for each answer that the next question depends on: with
100 ms to the region, twenty waits would take two seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

from parallelize.bulk import WireStore, get_async, get_if_there, list_each, try_alone, try_async
from parallelize_core.async_clients import AsyncClients
from parallelize_core.errors import MissingError, ParallelizeError, ThrottledError
from parallelize_core.s3 import AsyncS3Store
from parallelize_core.store import ALWAYS, IF_ABSENT, Condition, ObjectInfo, Store
from parallelize_core.transport.listing import ListingPage

Made = TypeVar("Made")

Later = Callable[[], Made]
"""Waits for an answer, and returns it or raises its error."""

Version = tuple[bytes, str]
"""An object's content, and its ETag."""

MAX_UNASKED_BYTES = 64 * 1024
"""Whether a larger object exists is asked first: at 1 Mbit/s, this much takes half a second."""


class Listed(Protocol):
    """Waits for a listing."""

    def __call__(self, splits: Iterable[str] = ()) -> Iterator[ObjectInfo]:
        """Go through it; a long one is read in the stretches between `splits`, which are keys."""


class Together:
    """Calls that do not depend on each other: all are made when the first answer is needed.

        calls = Together(store)
        record, parts = calls.get_version(layout.run_json), calls.list(layout.manifest.prefix)
        record()  # waits once, for both

    Each is made once, so its answer stays what it was then; but a listing of more than a page is
    made again, from its start, whenever its answer is asked for. An error is raised where its
    answer is needed, and the call is made again if it is needed once more. Without an event loop,
    each call is made where its answer is needed.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._waiting: list[_Call[Any]] = []

    def get(self, key: str) -> Later[bytes | None]:
        """Read a small object; None if it is not there."""
        return self._of_store(lambda s: get_async(s, key), lambda: get_if_there(self.store, key))

    def get_version(self, key: str) -> Later[Version | None]:
        """Read a small object with the ETag of what was read; None if it is not there."""
        return self._of_store(
            lambda store: _get_version(store, key), lambda: _version_alone(self.store, key)
        )

    def attempt(self, key: str, seconds: float) -> Later[bytes | ParallelizeError | None]:
        """Read a small object, as `try_each` does: return its error if it has one."""
        return self._of_store(
            lambda store: try_async(store, key, seconds), lambda: try_alone(self.store, key)
        )

    def put(
        self,
        key: str,
        body: bytes,
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> Later[str | None]:
        """Write a small object, as `Store.put` does."""
        return self._of_store(
            lambda store: store.put(key, body, condition, metadata),
            lambda: self.store.put(key, body, condition, metadata),
        )

    def put_new(
        self, key: str, body: bytes, metadata: Mapping[str, str] | None = None
    ) -> Later[object]:
        """Write a small object, unless there is one."""
        if len(body) <= MAX_UNASKED_BYTES:
            return self.put(key, body, IF_ABSENT, metadata)

        async def put(store: AsyncS3Store) -> None:
            if await store.head(key) is None:
                await store.put(key, body, IF_ABSENT, metadata)

        def put_alone() -> None:
            if self.store.head(key) is None:
                self.store.put(key, body, IF_ABSENT, metadata)

        return self._of_store(put, put_alone)

    def folders(self, prefix: str) -> Later[Sequence[str]]:
        """List folders as `Store.folders` does; see `list`."""
        first = self._of_store(lambda store: store.first_page(prefix, "/"), lambda: None)

        def listed() -> Sequence[str]:
            page = first()
            if page and not page.token:
                return page.names(prefix)
            return [*self.store.folders(prefix)]

        return listed

    def list(self, prefix: str) -> Listed:
        """List the keys that start with `prefix`.

        If there is more than a page, all of it is listed when asked for.
        """
        first = self._of_store(lambda store: store.first_page(prefix), lambda: None)

        def listed(splits: Iterable[str] = ()) -> Iterator[ObjectInfo]:
            page = first()
            if page and not page.token:
                return iter(page.found)
            return list_each(self.store, prefix, splits)

        return listed

    def list_timed(
        self, prefix: str, clock: Callable[[], float]
    ) -> Later[tuple[Sequence[ObjectInfo], float]]:
        """List the keys that start with `prefix`; the answer has the time when that was there."""

        async def list_first(store: AsyncS3Store) -> tuple[ListingPage, float] | None:
            return await store.first_page(prefix), clock()

        first = self._of_store(list_first, lambda: None)

        def listed() -> tuple[Sequence[ObjectInfo], float]:
            page, at = first() or (None, 0.0)
            if page and not page.token:
                return page.found, at
            return [*list_each(self.store, prefix)], clock()

        return listed

    def add(
        self, call: Callable[[AsyncClients], Coroutine[Any, Any, Made]], alone: Later[Made]
    ) -> Later[Made]:
        """Make any call that the event loop makes only where it is quick; else `alone` makes it."""
        is_quick = isinstance(self.store, WireStore) and self.store.is_quick
        return self._begin(call, alone) if is_quick else _once(alone)

    def _of_store(
        self, call: Callable[[AsyncS3Store], Coroutine[Any, Any, Made]], alone: Later[Made]
    ) -> Later[Made]:
        if not isinstance(self.store, WireStore):
            return _once(alone)
        return self._begin(lambda clients: call(clients.store(self.store.bucket)), alone)

    def _begin(
        self, call: Callable[[AsyncClients], Coroutine[Any, Any, Made]], alone: Later[Made]
    ) -> Later[Made]:
        made = _Call(call, alone)
        self._waiting.append(made)
        return lambda: made.answer(self._make)

    def _make(self) -> None:
        assert isinstance(self.store, WireStore)  # noqa: S101 - else nothing waits
        waiting, self._waiting = self._waiting, []
        self.store.make([call.make for call in waiting])


@dataclass
class _Call(Generic[Made]):
    """A call, and its answer or error once it was made."""

    call: Callable[[AsyncClients], Coroutine[Any, Any, Made]]
    alone: Later[Made]
    value: Made | None = None
    error: ParallelizeError | None = None
    is_made: bool = False

    async def make(self, clients: AsyncClients) -> None:
        try:
            self.value = await self.call(clients)
        except ParallelizeError as error:
            error.__traceback__ = None  # it keeps the loop's frames: see `Wire.run`
            self.error = error
        self.is_made = True

    def answer(self, make: Callable[[], None]) -> Made:
        if not self.is_made:
            make()
        if self.error and not isinstance(self.error, ThrottledError):
            raise self._taken()
        if self.error or not self.is_made:
            # A call of many is given up soon; a single one is repeated for a minute.
            self.value, self.error, self.is_made = self.alone(), None, True
        return cast("Made", self.value)

    def _taken(self) -> ParallelizeError:
        # Once raised it has the frames of all callers, which would live as long as this.
        error, self.error, self.is_made = self.error, None, False
        return cast("ParallelizeError", error)


def _once(call: Later[Made]) -> Later[Made]:
    """Return the same, but make the call only at the first time."""
    made: list[Made] = []

    def answer() -> Made:
        if not made:
            made.append(call())
        return made[0]

    return answer


async def _get_version(store: AsyncS3Store, key: str) -> Version | None:
    with suppress(MissingError):
        return await store.get_version(key)
    return None


def _version_alone(store: Store, key: str) -> Version | None:
    # In this order: if somebody writes in between, a write over this version fails.
    there, body = store.head(key), get_if_there(store, key)
    return (body, there.etag) if there and body is not None else None
