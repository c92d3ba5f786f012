"""HTTP/1.1 on one event loop: whole requests in memory, answered in order.

A handler returns a `Response` at once, or a coroutine that makes one. The coroutine is cancelled
when the client disconnects, so a long poll that has lost its client takes no message.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import httptools

from parallelize.local.loopback import is_owners

JOIN_BYTES = 64 * 1024
"""Up to this size, head and body are sent in one write."""

BODILESS = {204, 304}

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Request:
    """A request; `path` and `query` are still percent-encoded, header names in lower case.

    Headers of the same name are joined by commas.
    """

    method: str = ""
    path: str = ""
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class FileBody:
    """A part of a file, sent without reading it into memory."""

    path: Path
    start: int
    size: int


@dataclass(slots=True)
class Response:
    """A response; `length` replaces the body's length when no body is sent, as for HEAD."""

    status: int = 200
    body: bytes | FileBody = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/xml"
    length: int | None = None


Answer = Response | Coroutine[Any, Any, Response]
Handler = Callable[[Request], Answer]


class Connection(asyncio.Protocol):
    """One client's connection. A second request waits until the first is answered."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._request = Request()
        self._parts: list[bytes] = []
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve the connection if it is the owner's, else close it."""
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if not is_owners(peer[:2], own[:2]):
            transport.close()
            return
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """Drop the requests that are not answered yet."""
        self._transport = None
        self._waiting.clear()
        if self._answering:
            self._answering.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer the requests that are complete."""
        if self._transport is None:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._send(Response(400, b"this is not HTTP\n", content_type="text/plain"), keep=False)
        else:
            self._answer_next()

    # Callbacks of the parser, by the names that it expects.

    def on_url(self, url: bytes) -> None:
        """Add a piece of the request's target."""
        self._request.path += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header."""
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers = self._request.headers
        headers[key] = f"{headers[key]},{text}" if key in headers else text

    def on_headers_complete(self) -> None:
        """Send 100 Continue if the client waits for it."""
        self._request.method = self._parser.get_method().decode()
        if "expect" in self._request.headers and self._transport and not self._answering:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Add a piece of the body."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """Queue a request that is now complete."""
        request = self._request
        request.path, _, request.query = request.path.partition("?")
        request.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._request, self._parts = Request(), []
        self._waiting.append((request, self._parser.should_keep_alive()))

    def _answer_next(self) -> None:
        while self._waiting and self._answering is None:
            request, keep = self._waiting.popleft()
            try:
                answer = self._handler(request)
            except Exception:
                answer = _failure(request)
            if isinstance(answer, Response) and isinstance(answer.body, bytes):
                self._send(answer, keep=keep)
            else:
                task = asyncio.get_running_loop().create_task(
                    self._answer(request, answer, keep=keep)
                )
                self._answering = task
                task.add_done_callback(self._go_on)

    def _go_on(self, task: asyncio.Task[None]) -> None:
        self._answering = None
        if not task.cancelled() and task.exception() and self._transport:
            # Part of the body is already sent: only closing the connection can report the error.
            self._transport.abort()
        self._answer_next()

    async def _answer(self, request: Request, answer: Answer, *, keep: bool) -> None:
        try:
            response = answer if isinstance(answer, Response) else await answer
        except Exception:
            response = _failure(request)
        if isinstance(response.body, FileBody):
            await self._send_file(response, response.body, keep=keep)
        else:
            self._send(response, keep=keep)

    async def _send_file(self, response: Response, body: FileBody, *, keep: bool) -> None:
        if self._transport is None:
            return
        with body.path.open("rb") as file:
            self._transport.write(encode_head(response, body.size, keep=keep))
            loop = asyncio.get_running_loop()
            await loop.sendfile(self._transport, file, body.start, body.size)
        if not keep and self._transport:
            self._transport.close()

    def _send(self, response: Response, *, keep: bool) -> None:
        if self._transport is None:
            return
        body = cast("bytes", response.body)
        length = len(body) if response.length is None else response.length
        head = encode_head(response, length, keep=keep)
        if len(body) <= JOIN_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        if not keep:
            self._transport.close()


def encode_head(response: Response, length: int, *, keep: bool) -> bytes:
    """Return a response's first line and headers, with the empty line at their end."""
    extra = "".join([f"{name}: {value}\r\n" for name, value in response.headers])
    size = "" if response.status in BODILESS else f"Content-Length: {length}\r\n"
    kind = f"Content-Type: {response.content_type}\r\n" if size else ""
    close = "" if keep else "Connection: close\r\n"
    return (
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}\r\n"
        f"Date: {http_date(int(time.time()))}\r\n"
        f"{extra}{kind}{size}{close}\r\n"
    ).encode("latin-1")


@lru_cache(maxsize=4096)
def http_date(at: int) -> str:
    """Return a time, given in seconds since 1970, in the form of HTTP's headers."""
    return formatdate(at, usegmt=True)


def _failure(request: Request) -> Response:
    log.exception("%s %s was not answered", request.method, request.path)
    return Response(500, b"<Error><Code>InternalError</Code></Error>")
