"""Objects into files, large ones in parts, several at once, and hashed while they arrive."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parallelize_core.errors import UnavailableError
from parallelize_core.parts import PART_BYTES, ObjectPart, parts_of
from parallelize_core.store import check_sha256
from parallelize_core.transport.client import Client
from parallelize_core.transport.objects import ObjectRequests
from parallelize_core.transport.sinks import FilePart
from parallelize_core.transport.uploads import each, ended, etag_of

READ_BYTES = 1024 * 1024
"""How much of a file is read at a time to hash it."""


@dataclass(frozen=True)
class Downloads:
    """Reads objects of one bucket; `pool` writes and hashes, `parts` limits those on their way."""

    requests: ObjectRequests
    parts: asyncio.Semaphore
    pool: Executor

    async def get(  # noqa: PLR0913, PLR0917 - as the store's method
        self, client: Client, key: str, path: Path, etag: str, size: int, sha256: str
    ) -> int:
        """Write an object of any size to `path`, return its bytes; see `AsyncStore.get_file`."""
        with _NewFile(path) as file:
            download = _Download(self, client, key, file)
            if etag and size >= PART_BYTES:
                found = await download.in_parts(etag, size, hashed=bool(sha256))
            else:
                size = await download.whole(etag)
                found = await download.sum_of(size) if sha256 else ""
            check_sha256(found, sha256, self.requests.where(key))
            file.keep(size)
        return size


@dataclass(frozen=True)
class _Download:
    """An object on its way into a new file."""

    of: Downloads
    client: Client
    key: str
    file: _NewFile

    async def in_parts(self, etag: str, size: int, *, hashed: bool) -> str:
        """Read a version of known size; return its SHA-256 if that is wanted."""
        parts = parts_of(size)
        written = {part.number: asyncio.Event() for part in parts}
        following = asyncio.create_task(self._follow(parts, written)) if hashed else None
        get = self._getting(etag, size)

        async def get_and_tell(part: ObjectPart) -> None:
            await get(part)
            written[part.number].set()

        try:
            await each(self.of.parts, parts, get_and_tell)
            return await following if following else ""
        finally:
            await ended(following)

    async def whole(self, etag: str) -> int:
        """Read an object of unknown size, in parts after the first; return its bytes."""
        rest: asyncio.Task[Any] | None = None

        def go_on() -> None:
            nonlocal rest
            if rest is None:
                version, size = etag_of(sink.reply), sink.size
                rest = asyncio.create_task(
                    each(self.of.parts, parts_of(size)[1:], self._getting(version, size))
                )
                # If this answer breaks off, the next one must be of the same version.
                request.headers += [] if etag else [("if-match", f'"{version}"')]

        sink = self._sink(None, go_on)
        checked = self.client.endpoint.checks_checksums
        request = self.of.requests.get(self.key, etag, checked=checked)
        try:
            await self.client.call(request, sink)
            if rest is not None:
                await rest
        finally:
            await ended(rest)
        return sink.size

    async def sum_of(self, size: int) -> str:
        """Return the SHA-256 of the file, which has `size` bytes."""
        sum_ = hashlib.sha256()
        await self._add(sum_, ObjectPart(1, 0, size))
        return sum_.hexdigest()

    async def _follow(
        self, parts: Iterable[ObjectPart], written: Mapping[int, asyncio.Event]
    ) -> str:
        """Return the SHA-256 of the file; each part is hashed once those before it are there.

        So it is read back while it is still in memory, and little is left to do at the end.
        """
        sum_ = hashlib.sha256()
        for part in parts:
            await written[part.number].wait()
            await self._add(sum_, part)
        return sum_.hexdigest()

    async def _add(self, sum_: hashlib._Hash, part: ObjectPart) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self.of.pool, _add, sum_, self.file.path, part)

    def _getting(
        self, version: str, size: int
    ) -> Callable[[ObjectPart], Coroutine[Any, Any, None]]:
        """Return what reads one of the parts of this version, which has `size` bytes."""

        async def get(part: ObjectPart) -> None:
            checked = self.client.endpoint.checks_checksums
            sink = self._sink(part)
            request = self.of.requests.get(self.key, version, part, checked=checked)
            await self.client.call(request, sink)
            total = sink.reply.headers.get("content-range", "").rpartition("/")[2]
            if (sink.reply.status, sink.size, total) != (206, part.size, str(size)):
                where = self.of.requests.where(self.key)
                raise UnavailableError(f"{where}: S3 sent other bytes than part {part.number}")

        return get

    def _sink(self, part: ObjectPart | None, on_more: Callable[[], None] | None = None) -> FilePart:
        checks = self.client.endpoint.checks_checksums
        return FilePart(self.file.opened, self.of.pool, part, on_more, checks=checks)


def _add(sum_: hashlib._Hash, path: Path, part: ObjectPart) -> None:
    """Add a part of a file to its hash."""
    buffer = memoryview(bytearray(min(READ_BYTES, part.size)))
    left = part.size
    with path.open("rb", buffering=0) as file:
        file.seek(part.start)
        while left and (read := file.readinto(buffer[:left])):
            sum_.update(buffer[:read])
            left -= read


class _NewFile:
    """A file that is created with its first byte, and removed if it is not kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1
        self._kept = False

    def opened(self) -> int:
        """Return the file's descriptor."""
        if self._descriptor < 0:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        return self._descriptor

    def keep(self, size: int) -> None:
        """Mark it as complete with `size` bytes; surplus bytes of an earlier answer are cut off."""
        if os.fstat(self._descriptor).st_size != size:
            os.ftruncate(self._descriptor, size)
        self._kept = True

    def __enter__(self) -> _NewFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor < 0:
            return
        os.close(self._descriptor)
        if not self._kept:
            # An incomplete file must not be taken for the object.
            self.path.unlink(missing_ok=True)
