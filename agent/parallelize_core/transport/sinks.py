"""Where bodies go: into memory or into a file at an offset, verified on the way."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Protocol

from parallelize_core.parts import ObjectPart, part_bytes
from parallelize_core.transport.answers import Reply
from parallelize_core.transport.connection import BrokenAnswerError

LOOP_BYTES = 64 * 1024
"""Up to this size, data is hashed or written on the loop: handing it to a thread costs more."""


HELD_BYTES = 1024 * 1024
"""What is gathered of a body for a thread that writes it: handing over a piece takes as long as
writing it."""


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class Crc32:
    """CRC-32 with the interface of hashlib."""

    def __init__(self) -> None:
        self._sum = 0

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""
        self._sum = zlib.crc32(data, self._sum)

    def digest(self) -> bytes:
        """Return the checksum of all bytes."""
        return self._sum.to_bytes(4, "big")


_HASHES: dict[str, Callable[[], _Hash]] = {
    "crc32": Crc32,
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
}
"""In botocore's order of preference, without those for which it needs an extra library."""


class Checksum:
    """The checksum in the response's headers, if there is one and it covers the whole body."""

    def __init__(self, reply: Reply, *, wanted: bool) -> None:
        self._hash: _Hash | None = None
        self._expected = b""
        for name, hash_ in _HASHES.items() if wanted else ():
            said = reply.headers.get(f"x-amz-checksum-{name}", "")
            # The checksum of a multipart upload ends in a dash and the number of parts.
            if said and "-" not in said:
                self._hash, self._expected = hash_(), base64.b64decode(said)
                return

    def update(self, data: bytes) -> None:
        """Take more of the body."""
        if self._hash is not None:
            self._hash.update(data)

    def check(self) -> None:
        """Raise BrokenAnswerError if the body does not match."""
        if self._hash is not None and self._hash.digest() != self._expected:
            raise BrokenAnswerError("the body does not have the checksum that S3 promises")


class Memory:
    """A body in memory; None if it is longer than `limit` bytes."""

    def __init__(self, limit: int | None, *, checks: bool) -> None:
        self.content: bytes | None = b""
        self._limit = limit
        self._checks = checks
        self._chunks: list[bytes] = []
        self._size = 0
        self.reply = Reply(0)

    async def begin(self, reply: Reply) -> bool:
        """Start empty."""
        self._chunks.clear()
        self._size, self.reply = 0, reply
        return self._fits(int(reply.headers.get("content-length") or 0))

    async def write(self, data: bytes) -> bool:
        """Keep a piece."""
        self._chunks.append(data)
        self._size += len(data)
        return self._fits(self._size)

    def _fits(self, size: int) -> bool:
        if self._limit is None or size <= self._limit:
            return True
        self.content = None
        return False

    async def finish(self) -> None:
        """Join the pieces."""
        content = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        checksum = Checksum(self.reply, wanted=self._checks)
        checksum.update(content)
        checksum.check()
        self.content = content


class FilePart:
    """Part of a file, opened when a successful response begins; `size` is what the response has.

    Takes `part`. Of a response with the whole object, takes what would be the first part, and calls
    `on_more` if there are others.
    """

    def __init__(
        self,
        open_: Callable[[], int],
        pool: Executor,
        part: ObjectPart | None = None,
        on_more: Callable[[], None] | None = None,
        *,
        checks: bool,
    ) -> None:
        self.reply = Reply(0)
        self.size = 0
        self._open = open_
        self._pool = pool
        self._part = part
        self._on_more = on_more
        self._checks = checks
        self._descriptor = -1
        self._start = part.start if part is not None else 0
        self._most = 0
        self._taken = 0
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._checksum = Checksum(self.reply, wanted=False)

    async def begin(self, reply: Reply) -> bool:
        """Start at the offset."""
        if "content-length" not in reply.headers:
            raise BrokenAnswerError("an object that does not tell its length")
        self.reply, self._taken, self._held, self._held_bytes = reply, 0, [], 0
        self.size = int(reply.headers["content-length"])
        self._most = self._part.size if self._part is not None else part_bytes(self.size)
        self._checksum = Checksum(reply, wanted=self._checks)
        self._descriptor = self._open()
        if self._on_more is not None and self.size > self._most:
            self._on_more()
        return True

    async def write(self, data: bytes) -> bool:
        """Take a piece; many of them are written together."""
        piece = data[: self._most - self._taken]
        self._held.append(piece)
        self._held_bytes += len(piece)
        self._taken += len(piece)
        wanted = self._taken < self._most or self._most >= self.size
        if self._held_bytes >= HELD_BYTES or not wanted:
            await self._write_held()
        return wanted

    async def finish(self) -> None:
        """Write the rest, and verify what was written."""
        await self._write_held()
        if self._taken != self.size:
            raise BrokenAnswerError(f"{self._taken:,} bytes of {self.size:,}")
        self._checksum.check()

    async def _write_held(self) -> None:
        """Write what is held; much of it in a thread."""
        pieces, size = self._held, self._held_bytes
        self._held, self._held_bytes = [], 0
        offset = self._start + self._taken - size
        if size <= LOOP_BYTES:
            self._write(self._descriptor, pieces, offset)
            return
        # A cancelled call closes its file while the thread still writes to a duplicate.
        own = os.dup(self._descriptor)
        writing = self._pool.submit(self._write_and_close, own, pieces, offset)
        try:
            await asyncio.wrap_future(writing)
        finally:
            if writing.cancelled():  # before it began
                os.close(own)

    def _write_and_close(self, descriptor: int, pieces: Sequence[bytes], offset: int) -> None:
        try:
            self._write(descriptor, pieces, offset)
        finally:
            os.close(descriptor)

    def _write(self, descriptor: int, pieces: Sequence[bytes], offset: int) -> None:
        for piece in pieces:
            self._checksum.update(piece)
            write_all(descriptor, piece, offset)
            offset += len(piece)


def write_all(descriptor: int, content: bytes, offset: int) -> None:
    """Write all of `content`; a single call may write less."""
    left = memoryview(content)
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written
