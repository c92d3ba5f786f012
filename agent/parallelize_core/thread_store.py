"""A bucket on an event loop, for use from other threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

from parallelize_core.store import ALWAYS, AsyncStore, Condition, ObjectInfo, Source, Store

T = TypeVar("T")

PAGE = 1000
"""Entries of a listing that are handed over at a time: one page of S3's."""


class ThreadStore:
    """See `Store` for what its methods promise; each waits for the loop, so never call it there.

    `rest` opens the bucket for the calls that loops do not have.
    """

    def __init__(
        self, store: AsyncStore, loop: asyncio.AbstractEventLoop, rest: Callable[[], Store]
    ) -> None:
        self.bucket = store.bucket
        self._store = store
        self._loop = loop
        self._rest = rest

    def get(self, key: str) -> bytes:
        """Return a small object's content."""
        return self._wait(self._store.get(key))

    def get_file(self, key: str, path: Path, etag: str = "") -> int:
        """Write an object to `path`, return its bytes; ChangedError if it is not `etag`."""
        return self._wait(self._store.get_file(key, path, etag))

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object, or answer None if there is none."""
        return self._wait(self._store.head(key))

    def put(
        self,
        key: str,
        body: bytes,
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """Write a small object."""
        return self._wait(self._store.put(key, body, condition, metadata))

    def put_file(
        self,
        key: str,
        file: IO[bytes],
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """Write an object of any size from an open file, from its start."""
        return self._wait(self._store.put_file(key, file, condition, metadata))

    def list(self, prefix: str, *, folder_only: bool = False) -> Iterator[ObjectInfo]:
        """List the keys that start with `prefix`; with `folder_only`, none with a further /."""
        # Not all at once: a run may have millions of results.
        items = aiter(self._store.list(prefix, folder_only=folder_only))
        while page := self._wait(_next_page(items)):
            yield from page

    def folders(self, prefix: str) -> Iterator[str]:
        """List what follows `prefix` up to the next /, each once, without what lies below."""
        return self._rest().folders(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that do not exist are not an error."""
        self._wait(self._store.delete(keys))

    def delete_version(self, key: str, etag: str) -> bool:
        """Delete an object if it is still this version; say whether there is none now."""
        return self._rest().delete_version(key, etag)

    def copy_from(
        self, source: Source, key: str, metadata: Mapping[str, str] | None = None
    ) -> str | None:
        """Copy a version of an object to a key without an object, without its metadata."""
        return self._rest().copy_from(source, key, metadata)

    def _wait(self, call: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()


async def _next_page(items: AsyncIterator[ObjectInfo]) -> tuple[ObjectInfo, ...]:
    page: list[ObjectInfo] = []
    async for item in items:
        page.append(item)
        if len(page) == PAGE:
            break
    return tuple(page)
