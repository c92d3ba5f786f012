"""Many small objects, and long listings: over the event loop if there is one, else by threads."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Any, TypeVar

from parallelize.transfers import in_parallel
from parallelize.wire import Wire, all_of
from parallelize_core.async_clients import AsyncClients
from parallelize_core.errors import (
    BOUNDARY_ERRORS,
    MissingError,
    ParallelizeError,
    UnavailableError,
)
from parallelize_core.s3 import AsyncS3Store
from parallelize_core.store import ALWAYS, AsyncStore, Condition, ObjectInfo, Source, Store

Made = TypeVar("Made")

AT_ONCE = 64
"""Objects that are read at the same time: they may have logs of 64 KB."""

STRETCHES = 16
"""Parts of a listing that are read at the same time."""


class WireStore:
    """A bucket whose listings and small objects are read over the event loop.

    Single calls are made there if that is quicker; otherwise, and for what it cannot do, `make`
    makes the bucket that makes them.
    """

    def __init__(self, bucket: str, make: Callable[[], Store], wire: Wire) -> None:
        self.bucket = bucket
        self._make = make
        self._wire = wire

    @cached_property
    def _rare(self) -> Store:
        return self._make()

    def _run(
        self,
        quick: Callable[[AsyncS3Store], Coroutine[Any, Any, Made]],
        rare: Callable[[Store], Made],
    ) -> Made:
        if not self._wire.is_quick:
            return rare(self._rare)
        return self._wire.ask(lambda clients: quick(clients.store(self.bucket)))

    def list(self, prefix: str, *, folder_only: bool = False) -> Iterator[ObjectInfo]:
        """List the keys that start with `prefix`; with `folder_only`, none with a further /."""
        if folder_only:
            return iter(self._run(
                lambda store: _listed(store, prefix, folder_only=True),
                lambda store: [*store.list(prefix, folder_only=True)],
            ))  # fmt: skip
        return self.list_each(prefix, ())

    def list_each(self, prefix: str, splits: Iterable[str]) -> Iterator[ObjectInfo]:
        """List the keys that start with `prefix`, the stretches between `splits` concurrently."""
        bounds = ["", *sorted(split for split in splits if split.startswith(prefix)), ""]
        waiting = deque(itertools.pairwise(bounds))
        open_: list[AsyncIterator[Sequence[ObjectInfo]]] = []

        async def pages(clients: AsyncClients) -> list[Sequence[ObjectInfo] | None]:
            store = clients.store(self.bucket)
            while waiting and len(open_) < STRETCHES:
                open_.append(store.list_between(prefix, *waiting.popleft()))
            return await all_of(anext(pages, None) for pages in open_)

        while waiting or open_:
            found = self._wire.run(pages)
            open_[:] = [one for one, page in zip(open_, found, strict=True) if page is not None]
            for page in found:
                yield from page or ()

    def list_all(self, prefixes: Iterable[str]) -> Iterator[ObjectInfo]:
        """List the keys that start with one of many prefixes, of which each has about a page."""

        async def look(clients: AsyncClients) -> Sequence[Sequence[ObjectInfo]]:
            store = clients.store(self.bucket)
            return await all_of(_listed(store, prefix) for prefix in some)

        rest = iter(prefixes)
        while some := tuple(itertools.islice(rest, AT_ONCE)):
            yield from itertools.chain.from_iterable(self._wire.run(look))

    def get_each(
        self, keys: Iterable[str], at_once: int = AT_ONCE
    ) -> Iterator[tuple[str, bytes | None]]:
        """Read objects in their order, many at a time; None for one that is not there."""
        rest = iter(keys)
        while some := tuple(itertools.islice(rest, at_once)):
            yield from zip(some, self._wire.run(lambda c: self._get_all(c, some)), strict=True)

    def head_each(self, keys: Iterable[str]) -> Iterator[ObjectInfo | None]:
        """Describe objects in their order, many at a time; None for one that is not there."""

        async def look(clients: AsyncClients) -> Sequence[ObjectInfo | None]:
            store = clients.store(self.bucket)
            return await all_of(store.head(key) for key in some)

        rest = iter(keys)
        while some := tuple(itertools.islice(rest, AT_ONCE)):
            yield from self._wire.run(look)

    def put_each(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Write small objects, many at a time."""

        async def write(clients: AsyncClients) -> None:
            store = clients.store(self.bucket)
            await all_of(store.put(key, body) for key, body in some)

        rest = iter(objects)
        while some := tuple(itertools.islice(rest, AT_ONCE)):
            self._wire.run(write)

    def try_each(
        self, keys: Sequence[str], seconds: float
    ) -> Iterator[tuple[str, bytes | ParallelizeError | None]]:
        """Read objects as `get_each` does; return the error of one that does not arrive in time."""

        async def read(clients: AsyncClients) -> Sequence[bytes | ParallelizeError | None]:
            store = clients.store(self.bucket)
            return await all_of(try_async(store, key, seconds) for key in some)

        rest = iter(keys)
        while some := tuple(itertools.islice(rest, AT_ONCE)):
            yield from zip(some, self._wire.run(read), strict=True)

    def make(self, calls: Sequence[Callable[[AsyncClients], Coroutine[Any, Any, None]]]) -> None:
        """Make calls, of this bucket or others, all at the same time."""

        async def work(clients: AsyncClients) -> None:
            await all_of(call(clients) for call in calls)

        self._wire.run(work)

    async def _get_all(self, clients: AsyncClients, keys: Sequence[str]) -> Sequence[bytes | None]:
        store = clients.store(self.bucket)
        return await all_of(get_async(store, key) for key in keys)

    # Single calls.

    @property
    def is_quick(self) -> bool:
        """Whether a single call is quicker over the event loop; see `Wire`."""
        return self._wire.is_quick

    def get(self, key: str) -> bytes:
        """Return a small object's content."""
        return self._run(lambda store: store.get(key), lambda store: store.get(key))

    def get_file(self, key: str, path: Path, etag: str = "") -> int:
        """Write an object to `path`, and return its size; ChangedError if it is not `etag`."""
        return self._run(
            lambda store: store.get_file(key, path, etag),
            lambda store: store.get_file(key, path, etag),
        )

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object, or return None if there is none."""
        return self._run(lambda store: store.head(key), lambda store: store.head(key))

    def put(
        self,
        key: str,
        body: bytes,
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """Write a small object."""
        return self._run(
            lambda store: store.put(key, body, condition, metadata),
            lambda store: store.put(key, body, condition, metadata),
        )

    def put_file(
        self,
        key: str,
        file: IO[bytes],
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """Write an object of any size from an open file, from its start."""
        return self._run(
            lambda store: store.put_file(key, file, condition, metadata),
            lambda store: store.put_file(key, file, condition, metadata),
        )

    def folders(self, prefix: str) -> Iterator[str]:
        """List what follows `prefix` up to the next /, each once, without what is below."""
        return iter(self._run(lambda s: s.folders(prefix), lambda s: [*s.folders(prefix)]))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that do not exist are not an error."""
        self._rare.delete(keys)

    def delete_version(self, key: str, etag: str) -> bool:
        """Delete an object if it is still this version; return whether there is none now."""
        return self._rare.delete_version(key, etag)

    def copy_from(
        self, source: Source, key: str, metadata: Mapping[str, str] | None = None
    ) -> str | None:
        """Copy a version of an object, without its metadata, to a key that has no object."""
        return self._rare.copy_from(source, key, metadata)


def get_each(
    store: Store, keys: Iterable[str], at_once: int = AT_ONCE
) -> Iterator[tuple[str, bytes | None]]:
    """Read objects in their order, many at a time; None for one that is not there."""
    if isinstance(store, WireStore):
        return store.get_each(keys, at_once)

    return in_parallel(lambda key: (key, get_if_there(store, key)), keys)


def head_each(store: Store, keys: Iterable[str]) -> Iterator[ObjectInfo | None]:
    """Describe objects in their order, many at a time; None for one that is not there."""
    return store.head_each(keys) if isinstance(store, WireStore) else in_parallel(store.head, keys)


def put_each(store: Store, objects: Iterable[tuple[str, bytes]]) -> None:
    """Write small objects, many at a time."""
    if isinstance(store, WireStore):
        store.put_each(objects)
        return
    for _ in in_parallel(lambda one: store.put(*one), objects):
        pass


def try_each(
    store: Store, keys: Sequence[str], seconds: float
) -> Iterator[tuple[str, bytes | ParallelizeError | None]]:
    """Read objects in their order, many at a time: the content of each, None, or its error.

    An object that does not arrive within `seconds` is given up: a view should not wait for all the
    retries of a single object.
    """
    if isinstance(store, WireStore):
        return store.try_each(keys, seconds)

    return in_parallel(lambda key: (key, try_alone(store, key)), keys)


def try_alone(store: Store, key: str) -> bytes | ParallelizeError | None:
    """Read a small object as `try_each` does, for as long as it takes."""
    try:
        return get_if_there(store, key)
    except BOUNDARY_ERRORS as error:
        return error


def list_each(store: Store, prefix: str, splits: Iterable[str] = ()) -> Iterator[ObjectInfo]:
    """List the keys that start with `prefix`, in any order.

    The stretches between `splits`, which are keys, are listed concurrently.
    """
    if isinstance(store, WireStore):
        return store.list_each(prefix, splits)
    return store.list(prefix)


def list_all(store: Store, prefixes: Iterable[str]) -> Iterator[ObjectInfo]:
    """List the keys that start with one of many prefixes, of which each has about a page."""
    if isinstance(store, WireStore):
        return store.list_all(prefixes)
    listed = in_parallel(lambda prefix: [*store.list(prefix)], prefixes)
    return itertools.chain.from_iterable(listed)


async def _listed(store: AsyncStore, prefix: str, *, folder_only: bool = False) -> list[ObjectInfo]:
    return [info async for info in store.list(prefix, folder_only=folder_only)]


async def get_async(store: AsyncStore, key: str) -> bytes | None:
    """Read a small object; None if it is not there."""
    with suppress(MissingError):
        return await store.get(key)
    return None


def get_if_there(store: Store, key: str) -> bytes | None:
    """Read a small object; None if it is not there."""
    with suppress(MissingError):
        return store.get(key)
    return None


async def try_async(store: AsyncStore, key: str, seconds: float) -> bytes | ParallelizeError | None:
    """Read a small object as `try_each` does."""
    try:
        async with asyncio.timeout(seconds):
            return await get_async(store, key)
    except TimeoutError:
        return UnavailableError(
            f"s3://{store.bucket}/{key} cannot be read", f"no answer within {seconds:g} s"
        )
    except BOUNDARY_ERRORS as error:
        return error
