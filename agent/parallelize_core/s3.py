"""A bucket in S3 for an event loop, over its own connections; rare calls go through boto3."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from itertools import chain, islice
from pathlib import Path
from typing import IO, TypeVar

from parallelize_core.bucket_terms import NO_TERMS, Terms
from parallelize_core.errors import (
    ChangedError,
    MissingError,
    ParallelizeError,
    UnavailableError,
)
from parallelize_core.parts import PART_BYTES
from parallelize_core.store import ALWAYS, Condition, ObjectInfo, Store
from parallelize_core.transport.client import Client, Request
from parallelize_core.transport.downloads import Downloads
from parallelize_core.transport.listing import ListingPage, read_page
from parallelize_core.transport.objects import ObjectRequests, Payload
from parallelize_core.transport.sinks import LOOP_BYTES, Memory
from parallelize_core.transport.uploads import (
    Uploads,
    check_content,
    etag_of,
    read_whole,
    unmet,
)

T = TypeVar("T")

SINGLE_DELETES = 3
"""Up to this many keys are deleted one by one; for more, one call of boto3 is less work."""

_META = "x-amz-meta-"
_REGION = "x-amz-bucket-region"


class AsyncS3Store:
    """A bucket; see `AsyncStore` for what its methods promise.

    They raise the error tree; errors of the disk come unchanged. The threads of `files` read, write
    and hash, those of `slow` wait for `rare`, and `parts` limits how many parts of large objects
    are transferred at a time.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what a store works with
        self,
        bucket: str,
        connect: Callable[[], Awaitable[Client]],
        rare: Callable[[], Store],
        files: Executor,
        slow: Executor,
        parts: asyncio.Semaphore,
        terms: Terms = NO_TERMS,
    ) -> None:
        self.bucket = bucket
        self._connect = connect
        self._rare = rare
        self._files = files
        self._slow = slow
        self._parts = parts
        self._requests = ObjectRequests(bucket, terms)
        self._uploads = Uploads(self._requests, parts, self._off_loop)
        self._downloads = Downloads(self._requests, parts, files)
        self._client: Client | None = None

    async def get(self, key: str) -> bytes:
        """Return a small object's content."""
        content = await self._get(key, None, "")
        if content is None:
            raise AssertionError("there is no limit")
        return content

    async def get_within(self, key: str, limit: int, etag: str = "") -> bytes | None:
        """Return an object's content, or None if it has more than `limit` bytes."""
        return await self._get(key, limit, etag)

    async def get_version(self, key: str) -> tuple[bytes, str]:
        """Return a small object's content, and the ETag of just that content."""
        client = await self._connected()
        memory = Memory(None, checks=client.endpoint.checks_checksums)
        await client.call(self._reading(client, key, ""), memory)
        return memory.content or b"", etag_of(memory.reply)

    async def get_file(
        self, key: str, path: Path, etag: str = "", size: int = 0, sha256: str = ""
    ) -> int:
        """Write an object of any size to `path`; see `AsyncStore`."""
        client = await self._connected()
        return await self._downloads.get(client, key, path, etag, size, sha256)

    async def head(self, key: str) -> ObjectInfo | None:
        """Describe an object, or answer None if there is none."""
        client = await self._connected()
        try:
            reply = await client.call(self._requests.head(key))
        except MissingError:
            return None
        named = reply.headers.items()
        metadata = {name.removeprefix(_META): v for name, v in named if name.startswith(_META)}
        if "content-length" not in reply.headers:
            raise UnavailableError("an answer of S3 is incomplete", "it has no Content-Length")
        return ObjectInfo(key, int(reply.headers["content-length"]), etag_of(reply), metadata)

    async def region(self) -> str | None:
        """Return the bucket's region, None if there is no bucket, "" if the service says none."""
        client = await self._connected()
        try:
            return (await client.call(self._requests.head(""))).headers.get(_REGION, "")
        except MissingError:
            return None

    async def put(
        self,
        key: str,
        body: bytes,
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
        sha256: str = "",
    ) -> str | None:
        """Write a small object; see `AsyncStore`."""
        try:
            return await self._put(key, lambda: body, len(body), condition, metadata, sha256)
        except ParallelizeError:
            # S3 refuses a body whose SHA-256 is not the one that was signed; others may say so in
            # other words.
            check_content(body, sha256)
            raise

    async def put_file(
        self,
        key: str,
        file: IO[bytes],
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
        sha256: str = "",
    ) -> str | None:
        """Write an object of any size from an open file, from its start; see `AsyncStore`."""
        size = file.seek(0, os.SEEK_END)
        if size >= PART_BYTES:
            client = await self._connected()
            return await self._uploads.put(client, key, file, size, condition, metadata, sha256)
        file.seek(0)
        return await self._put(key, lambda: read_whole(file, sha256), size, condition, metadata)

    async def list(self, prefix: str, *, folder_only: bool = False) -> AsyncIterator[ObjectInfo]:
        """List the keys that start with `prefix`; with `folder_only`, none with a further /."""
        async for page in self._pages(prefix, delimiter="/" if folder_only else ""):
            for info in page.found:
                yield info

    async def folders(self, prefix: str) -> Sequence[str]:
        """List what follows `prefix` up to the next /, each once, without what lies below."""
        pages = self._pages(prefix, delimiter="/")
        return [name async for page in pages for name in page.names(prefix)]

    async def list_between(
        self, prefix: str, after: str, upto: str
    ) -> AsyncIterator[Sequence[ObjectInfo]]:
        """List pages of the keys that start with `prefix` and lie above `after`, up to `upto`.

        An empty `after` or `upto` is no bound. So several sections can be listed at the same time.
        """
        async for whole in self._pages(prefix, after):
            page = whole.found
            # S3 lists in the order of the bytes of UTF-8, which is that of code points.
            if upto and page and page[-1].key > upto:
                yield [info for info in page if info.key <= upto]
                return
            yield page

    async def first_page(self, prefix: str, delimiter: str = "") -> ListingPage:
        """List the first keys that start with `prefix`; the page says whether there are more."""
        client = await self._connected()
        return read_page(await client.call(self._requests.page(prefix, "", "", delimiter)))

    async def _pages(
        self, prefix: str, after: str = "", delimiter: str = ""
    ) -> AsyncIterator[ListingPage]:
        client = await self._connected()
        token = ""
        while True:
            reply = await client.call(self._requests.page(prefix, after, token, delimiter))
            page = read_page(reply)
            yield page
            if not (token := page.token):
                return

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that do not exist are not an error."""
        others = iter(keys)
        pending = [*islice(others, SINGLE_DELETES + 1)]
        if len(pending) > SINGLE_DELETES:
            where = self._requests.where(pending[0])
            every = chain(pending, others)
            await in_thread(self._slow, where, lambda: self._rare().delete(every))
            return
        client = await self._connected()
        for key in pending:
            with contextlib.suppress(MissingError):
                await client.call(self._requests.delete(key))

    async def aclose(self) -> None:
        """Wait for the uploads that are being aborted."""
        await self._uploads.settled()

    async def _connected(self) -> Client:
        if self._client is None:
            self._client = await self._connect()
        return self._client

    async def _get(self, key: str, limit: int | None, etag: str) -> bytes | None:
        client = await self._connected()
        memory = Memory(limit, checks=client.endpoint.checks_checksums)
        await client.call(self._reading(client, key, etag), memory)
        return memory.content

    def _reading(self, client: Client, key: str, etag: str) -> Request:
        return self._requests.get(key, etag, checked=client.endpoint.checks_checksums)

    async def _put(  # noqa: PLR0913, PLR0917 - what a write takes
        self,
        key: str,
        read: Callable[[], bytes],
        size: int,
        condition: Condition,
        metadata: Mapping[str, str] | None,
        sha256: str = "",
    ) -> str | None:
        client = await self._connected()
        payload = await self._off_loop(size, lambda: Payload.of(read(), client.endpoint, sha256))
        try:
            reply = await client.call(self._requests.put(key, payload, condition, metadata))
        except (ChangedError, MissingError) as error:
            if unmet(error, condition):
                return None
            raise
        return etag_of(reply)

    async def _off_loop(self, size: int, work: Callable[[], T]) -> T:
        """Run work on that many bytes in a thread if it takes long, otherwise at once."""
        if size <= LOOP_BYTES:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._files, work)


async def in_thread(pool: Executor, where: str, do: Callable[[], T]) -> T:
    """Return the result of `do`; raise the error tree, or MemoryError.

    `where` names the object, bucket or queue in errors. A cancelled call continues in its thread.
    """
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, do)
    except (ParallelizeError, MemoryError):
        raise
    except Exception as error:  # whatever boto3 and its libraries raise
        from parallelize_core.aws_errors import translate  # noqa: PLC0415 - it imports botocore

        raise translate(error, "S3", where) from error
