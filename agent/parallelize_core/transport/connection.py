"""One connection: one request at a time, its response as it arrives, and deadlines for both."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import IO, Any, NamedTuple, cast

import httptools

from parallelize_core.errors import FileChangedError

PROGRESS_SECONDS = 60.0
PROGRESS_BYTES = 64 * 1024
"""A transfer that moves fewer bytes than this in `progress_seconds` is aborted.

About 1 KiB/s: a file of megabytes is not worth waiting for on a slower network, and a minute
bridges the pauses of a busy one.
"""

CONTINUE_SECONDS = 1.0
"""How long to wait for 100 Continue before sending the body anyway, as botocore does."""

_PIECE_BYTES = 256 * 1024
"""How much is encrypted and written at once; a larger piece would block the loop for longer."""

_BUFFER_BYTES = 1024 * 1024
"""How much may be buffered for the reader; above it the server has to wait."""


class FileBody:
    """Part of an open file as a request's body, which is read when it is sent, not before."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._descriptor = file.fileno()
        self._start, self._size = start, size

    def __len__(self) -> int:
        return self._size

    def pieces(self) -> Iterator[bytes]:
        """Read it from its start; raises FileChangedError if the file has become shorter."""
        place, end = self._start, self._start + self._size
        while place < end:
            piece = os.pread(self._descriptor, min(_PIECE_BYTES, end - place), place)
            if not piece:
                raise FileChangedError("a file became shorter while it was sent")
            yield piece
            place += len(piece)


Body = bytes | FileBody


class BrokenAnswerError(ConnectionError):
    """A response that breaks off, or that is not HTTP."""


class PatienceError(TimeoutError):
    """A response that takes too long."""


class StalledError(PatienceError):
    """A body that makes hardly any progress."""


class Patience(NamedTuple):
    """How long an exchange may take.

    At most `answer_seconds` may pass between the last byte sent and the end of the response's
    headers; bodies in both directions must move `progress_bytes` in each `progress_seconds`.
    """

    answer_seconds: float
    progress_seconds: float = PROGRESS_SECONDS
    progress_bytes: int = PROGRESS_BYTES


class Answer:
    """A response: `Connection.ask` returns it with status and headers; its body follows."""

    def __init__(self, connection: Connection, *, bodiless: bool) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.ended = False
        self.keep = False
        self.continued = False
        self.has_head = False
        self.reusable = True
        self.unmeasured = False
        self._connection = connection
        self._bodiless = bodiless
        self._to_eof = False
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._parser: Any = httptools.HttpResponseParser(self)

    @property
    def length(self) -> int | None:
        """Return the body's length in bytes if the headers state it."""
        found = self.headers.get("content-length", "")
        return int(found) if found.isdecimal() else None

    async def chunk(self) -> bytes:
        """Return what has arrived of the body since the last call; empty at its end."""
        if not self._chunks and not self.ended:
            await self._connection.until(lambda: bool(self._chunks) or self.ended)
        chunk = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        self._connection.resume_reading()
        return chunk

    async def body(self) -> bytes:
        """Return the rest of the body."""
        first = await self.chunk()
        if self.ended and not self._chunks:
            return first
        chunks = [first]
        while chunk := await self.chunk():
            chunks.append(chunk)
        return b"".join(chunks)

    def feed(self, data: bytes) -> None:
        """Parse what the connection received; raises the parser's errors."""
        self._parser.feed_data(data)

    def forget(self) -> None:
        """Drop the parser: it refers back here, and only the garbage collector would free both."""
        self._parser = None

    def at_eof(self) -> bool:
        """Whether the end of the connection also ends this response."""
        if self.has_head and self._to_eof:
            self.ended = True
        return self.ended

    def on_message_begin(self) -> None:
        """Record a response that nobody asked for, after the last one."""
        if self.ended:
            self.keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self.headers[_lower(name)] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Pass the headers to the caller, unless the response is only a 100 Continue."""
        status = self._parser.get_status_code()
        if status < 200:
            self.continued = True
            self.headers.clear()
            return
        self.status, self.has_head = status, True
        if self._bodiless:
            # The parser cannot know that a response to HEAD has a length but no body.
            self.ended, self.keep = True, self._parser.should_keep_alive()
        elif "content-length" not in self.headers and "transfer-encoding" not in self.headers:
            # Such a body ends with its connection, so half a body would look like success.
            self._to_eof = status >= 300
            self.unmeasured = status < 300 and status != 204

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body for its reader."""
        if self._bodiless:
            self.keep = False
            return
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered > _BUFFER_BYTES:
            self._connection.pause_reading()

    def on_message_complete(self) -> None:
        """Record the end of the body."""
        if self.has_head and not self.ended:
            self.ended, self.keep = True, self._parser.should_keep_alive()


@lru_cache(maxsize=256)
def _lower(name: bytes) -> str:
    """Return a header's name in lower case; those of all responses are the same few."""
    return name.decode("latin-1").lower()


class Connection(asyncio.Protocol):
    """A connection to one server, over TLS or not; used by one task at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.used = False
        """Whether it has answered a request, so that the server may have closed it while idle."""
        self.heard = False
        """Whether any of the response to the last request has arrived."""
        self.idle_since = 0.0
        self.transport: asyncio.Transport | None = None
        self._loop = loop
        self._answer: Answer | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._blocked = False
        self._paused = False
        self._moved = 0
        self._mark = 0
        self._moving = False
        self._patience = Patience(0)
        self._deadline = 0.0

    @property
    def alive(self) -> bool:
        """Whether it is usable."""
        return self._error is None and self.transport is not None

    async def ask(
        self,
        head: bytes,
        body: Body,
        patience: Patience,
        *,
        bodiless: bool = False,
        expect: bool = False,
    ) -> Answer:
        """Send a request and return its response once the headers have arrived.

        `bodiless` means that the response has no body, whatever its headers say; `expect` that the
        server is asked before the body is sent.
        """
        answer = self._answer = Answer(self, bodiless=bodiless)
        self._patience, self.heard = patience, False
        if isinstance(body, bytes) and len(body) <= _PIECE_BYTES and not expect:
            self._write(head + body)
        else:
            await self._send(answer, head, body, expect=expect)
        self._expect_by(patience.answer_seconds)
        if not answer.has_head:
            await self.until(lambda: answer.has_head)
        if answer.unmeasured:
            raise BrokenAnswerError("an answer that does not tell its length")
        self._expect_progress()
        return answer

    def finish(self) -> bool:
        """Drop the last response; return whether the connection can be reused."""
        answer, self._answer = self._answer, None
        self.used = True
        if answer is None:
            return False
        answer.forget()
        if not self.alive:
            return False
        return answer.ended and answer.keep and answer.reusable

    def abort(self, error: BaseException | None = None) -> None:
        """Close it at once, whatever is under way; pending callers get `error`."""
        self._error = self._error or error or ConnectionAbortedError("closed on this side")
        if self.transport is not None:
            self.transport.abort()
        self._wake()

    def look(self, now: float) -> None:
        """Abort what has taken too long, by the loop's clock."""
        if self._answer is None or now < self._deadline:
            return
        enough = self._moved - self._mark >= self._patience.progress_bytes
        # While the server has been told to wait, lack of progress is not the network's fault.
        if self._moving and (enough or self._paused or self._answer.ended):
            self._expect_progress()
            return
        self.abort(self._complaint())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; raise the error that ended the connection, if one did."""
        while not condition():
            if self._error is not None:
                raise self._error
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    # Callbacks of asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Pass the data to the response."""
        answer = self._answer
        self._moved += len(data)
        self.heard = True
        if answer is None or answer.ended:
            self.abort(BrokenAnswerError("the server speaks without having been asked"))
            return
        try:
            answer.feed(data)
        except MemoryError as error:
            self.abort(error)
        except Exception as error:  # whatever the parser raises, the response cannot be trusted
            if not answer.ended:
                broken = BrokenAnswerError(f"an answer that is not HTTP: {error}")
                broken.__cause__ = error
                self.abort(broken)
                return
            answer.keep = False
        self._wake()

    def eof_received(self) -> None:
        """Record the end: asyncio closes the connection next."""
        if self._answer is not None:
            self._answer.at_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake the waiting task."""
        broken = BrokenAnswerError("the connection was closed before the answer was whole")
        broken.__cause__ = exc
        self._error = self._error or broken
        self.transport = None
        self._wake()

    def pause_writing(self) -> None:
        """Stop writing until there is room."""
        self._blocked = True

    def resume_writing(self) -> None:
        """Resume writing."""
        self._blocked = False
        self._wake()

    def pause_reading(self) -> None:
        """Make the server wait until the body's reader has caught up."""
        if not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Resume reading."""
        if self._paused and self.transport is not None:
            self._paused = False
            self._expect_progress()
            self.transport.resume_reading()

    async def _send(self, answer: Answer, head: bytes, body: Body, *, expect: bool) -> None:
        """Send a body in pieces, unless the server answers that it does not want it."""
        self._write(head)
        self._expect_progress()
        if expect:
            await self._await_continue(answer)
        for piece in _pieces(body):
            if answer.has_head:
                answer.reusable = False
                return
            self._write(piece)
            self._moved += len(piece)
            await self.until(lambda: not self._blocked or answer.has_head)

    async def _await_continue(self, answer: Answer) -> None:
        def give_up() -> None:
            answer.continued = True
            self._wake()

        timer = self._loop.call_later(CONTINUE_SECONDS, give_up)
        try:
            await self.until(lambda: answer.continued or answer.has_head)
        finally:
            timer.cancel()

    def _write(self, data: bytes | memoryview) -> None:
        if self._error is not None or self.transport is None:
            raise self._error or ConnectionError("not connected")
        self.transport.write(data)

    def _expect_by(self, seconds: float) -> None:
        self._moving, self._mark = False, self._moved
        self._deadline = self._loop.time() + seconds

    def _expect_progress(self) -> None:
        self._moving, self._mark = True, self._moved
        self._deadline = self._loop.time() + self._patience.progress_seconds

    def _complaint(self) -> PatienceError:
        if not self._moving:
            return PatienceError(f"no answer within {self._patience.answer_seconds:g} s")
        moved = self._moved - self._mark
        return StalledError(f"only {moved:,} bytes in {self._patience.progress_seconds:g} s")

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _pieces(body: Body) -> Iterator[bytes | memoryview]:
    if isinstance(body, FileBody):
        return body.pieces()
    whole = memoryview(body)
    return (whole[place : place + _PIECE_BYTES] for place in range(0, len(whole), _PIECE_BYTES))
