"""Multipart uploads, several parts at once; the condition is checked when the parts are joined."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from io import UnsupportedOperation
from typing import IO, Any, TypeVar

from parallelize_core.errors import (
    ChangedError,
    FileChangedError,
    MissingError,
    UnavailableError,
)
from parallelize_core.parts import ObjectPart, parts_of
from parallelize_core.store import Condition
from parallelize_core.transport.answers import ConflictError, Reply, field_of
from parallelize_core.transport.client import Client
from parallelize_core.transport.connection import FileBody
from parallelize_core.transport.endpoints import Endpoint
from parallelize_core.transport.objects import ObjectRequests, Payload
from parallelize_core.transport.retries import CONFLICT_ATTEMPTS, MAX_DELAY_SECONDS

T = TypeVar("T")

SETTLE_SECONDS = 5.0
"""How long a process waits for parts to be removed; the bucket's rule removes the rest."""
OffLoop = Callable[[int, Callable[[], Payload]], Awaitable[Payload]]


class Uploads:
    """Multipart uploads to one bucket; `off_loop` runs what takes long for that many bytes."""

    def __init__(
        self, requests: ObjectRequests, parts: asyncio.Semaphore, off_loop: OffLoop
    ) -> None:
        self._requests = requests
        self._parts = parts
        self._off_loop = off_loop
        self._aborts: set[asyncio.Task[None]] = set()

    async def put(  # noqa: PLR0913, PLR0917 - as the store's method
        self,
        client: Client,
        key: str,
        file: IO[bytes],
        size: int,
        condition: Condition,
        metadata: Mapping[str, str] | None,
        sha256: str = "",
    ) -> str | None:
        """Write `size` bytes of a file; return the ETag, or None if the condition did not hold.

        If `sha256` is given and the bytes sent have another, it raises FileChangedError, and stores
        nothing.
        """
        failures = 0
        while True:
            try:
                return await self._put(client, key, file, size, condition, metadata, sha256)
            except ConflictError:
                # The upload is lost with it, so everything is sent again.
                # https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
                failures += 1
                if failures >= CONFLICT_ATTEMPTS:
                    raise
                await asyncio.sleep(random.uniform(0, MAX_DELAY_SECONDS))  # noqa: S311 - jitter

    async def settled(self) -> None:
        """Wait a short time for the uploads that are being aborted."""
        if self._aborts:
            await asyncio.wait(self._aborts, timeout=SETTLE_SECONDS)
        await ended(*self._aborts)

    async def _put(  # noqa: PLR0913, PLR0917 - as above
        self,
        client: Client,
        key: str,
        file: IO[bytes],
        size: int,
        condition: Condition,
        metadata: Mapping[str, str] | None,
        sha256: str,
    ) -> str | None:
        begun = await client.call(self._requests.begin(key, metadata))
        upload = field_of(begun.body, "UploadId")
        if not upload:
            raise UnavailableError(f"{self._requests.where(key)}: S3 names no upload")
        try:
            etags = await self._send(client, key, file, size, upload, sha256)
            complete = self._requests.complete(key, upload, etags, condition)
            done = await client.call(complete)
        except BaseException as error:
            self._abort(client, key, upload)
            if unmet(error, condition):
                return None
            raise
        return field_of(done.body, "ETag").strip('"') or etag_of(done)

    async def _send(  # noqa: PLR0913, PLR0917 - as above
        self, client: Client, key: str, file: IO[bytes], size: int, upload: str, sha256: str
    ) -> list[str]:
        # One after the other, because that suits the disk, and in order, for the checksum.
        reading = asyncio.Lock()
        whole = hashlib.sha256() if sha256 else None

        async def send(part: ObjectPart) -> str:
            async with reading:
                payload = await self._off_loop(
                    part.size, lambda: _payload(file, part, client.endpoint, whole)
                )
            return etag_of(
                await client.call(self._requests.part(key, upload, part.number, payload))
            )

        etags = await each(self._parts, parts_of(size), send)
        _check(whole, sha256)
        return etags

    def _abort(self, client: Client, key: str, upload: str) -> None:
        """Remove the parts, which would cost money forever, without waiting for it.

        If that fails, the bucket's lifecycle rule removes them.
        """

        async def abort() -> None:
            with contextlib.suppress(Exception):
                await client.call(self._requests.abort(key, upload))

        task = asyncio.create_task(abort())
        self._aborts.add(task)
        task.add_done_callback(self._aborts.discard)


def _payload(
    file: IO[bytes], part: ObjectPart, endpoint: Endpoint, whole: hashlib._Hash | None
) -> Payload:
    """Return a part of a file; only of what is in memory anyway, its bytes are kept."""
    try:
        file.fileno()
    except UnsupportedOperation:
        file.seek(part.start)
        content = file.read(part.size)
        if whole:
            whole.update(content)
        return Payload.of(content, endpoint)
    return Payload.of_file(FileBody(file, part.start, part.size), endpoint, whole)


def read_whole(file: IO[bytes], sha256: str) -> bytes:
    """Return what is left of a file; raise FileChangedError if its checksum is not `sha256`."""
    content = file.read()
    check_content(content, sha256)
    return content


def check_content(content: bytes, sha256: str) -> None:
    """Raise FileChangedError if a `sha256` is given and the content has another."""
    _check(hashlib.sha256(content) if sha256 else None, sha256)


def _check(found: hashlib._Hash | None, sha256: str) -> None:
    if found and found.hexdigest() != sha256:
        raise FileChangedError("a file changed while it was sent", "its checksum is another")


async def each(
    limit: asyncio.Semaphore,
    parts: Iterable[ObjectPart],
    do: Callable[[ObjectPart], Awaitable[T]],
) -> list[T]:
    """Process all parts, at most `limit` at once; the first failure cancels the rest."""

    async def one(part: ObjectPart) -> T:
        async with limit:
            return await do(part)

    tasks = [asyncio.create_task(one(part)) for part in parts]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await ended(*tasks)


async def ended(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel what is still running, and return when nothing is."""
    left = [task for task in tasks if task is not None]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def unmet(error: BaseException, condition: Condition) -> bool:
    """Whether a write failed because its condition did not hold."""
    if isinstance(error, MissingError):
        return condition.etag is not None
    return isinstance(error, ChangedError)


def etag_of(reply: Reply) -> str:
    """Return the ETag of a response without quotes; raise UnavailableError if it has none."""
    if "etag" not in reply.headers:
        raise UnavailableError("an answer of S3 is incomplete", "it has no ETag")
    return reply.headers["etag"].strip('"')
