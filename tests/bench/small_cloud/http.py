"""HTTP/1.1 on one event loop: requests whole in memory, answered in their order.

Not strict, and not for the open network: no chunked requests, no limits, no TLS.
"""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, cast

HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"\r\n0\r\n\r\n"
JOIN_BYTES = 64 * 1024
"""Up to this size, head and body are sent in one write."""

STARTED = time.time()
"""The server's clock stands still, so every object is new and no worker is overdue."""

DATE = formatdate(STARTED, usegmt=True)


@dataclass(slots=True)
class Request:
    """A request; `path` is still encoded, the names of `headers` are in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Response:
    """A response; `length` stands for the body's where none is sent, as for a HEAD."""

    status: int = 200
    body: bytes | memoryview = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/xml"
    length: int | None = None
    delay_seconds: float = 0.0


Answer = Response | Coroutine[Any, Any, Response]
Handler = Callable[[Request], Answer]


class Connection(asyncio.Protocol):
    """One client's connection. A second request waits until the first is answered.

    The answer that a client no longer waits for is cancelled, so a long poll that has lost its
    client takes no message. (AWS may lease messages to such a poll.)
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._transport: asyncio.Transport | None = None
        self._reader = RequestReader()
        self._waiting: deque[Request] = deque()
        self._answering: asyncio.Task[Response] | asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        # uvloop's is one without being of asyncio's class.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what is still to be answered."""
        self._transport = None
        self._waiting.clear()
        if self._answering:
            self._answering.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer the requests that have become whole."""
        self._waiting.extend(self._reader.feed(data))
        if self._transport and self._reader.expects_continue:
            self._reader.expects_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._answer_next()

    def _answer_next(self) -> None:
        while self._waiting and self._answering is None:
            request = self._waiting.popleft()
            try:
                answer = self._handler(request)
            except Exception:
                answer = _failure()
            if isinstance(answer, Response):
                self._reply(answer)
            else:
                self._answering = asyncio.get_running_loop().create_task(answer)
                self._answering.add_done_callback(self._reply_with_result)

    def _reply_with_result(self, task: asyncio.Task[Response]) -> None:
        self._answering = None
        if task.cancelled():
            return
        self._reply(_failure(task.exception()) if task.exception() else task.result())
        self._answer_next()

    def _reply(self, response: Response) -> None:
        if response.delay_seconds:
            loop = asyncio.get_running_loop()
            self._answering = loop.call_later(response.delay_seconds, self._reply_late, response)
        else:
            self._send(response)

    def _reply_late(self, response: Response) -> None:
        self._answering = None
        self._send(response)
        self._answer_next()

    def _send(self, response: Response) -> None:
        if self._transport is None:
            return
        head = encode_head(response)
        if len(response.body) <= JOIN_BYTES:
            self._transport.write(head + response.body)
        else:
            self._transport.write(head)
            self._transport.write(response.body)


class RequestReader:
    """Puts requests together from the pieces that arrive."""

    def __init__(self) -> None:
        self._head = b""
        self._request: Request | None = None
        self._parts: list[bytes] = []
        self._missing = 0
        self._in_chunks = False
        self.expects_continue = False
        """Whether the client waits for a word before it sends the body."""

    def feed(self, data: bytes) -> list[Request]:
        """Take what has arrived; return the requests that are whole now."""
        found = []
        while data:
            if self._request is None:
                data = self._read_head(data)
            if self._request is not None:
                data = self._read_body(data)
                if not self._missing:
                    found.append(self._take())
        return found

    def _read_head(self, data: bytes) -> bytes:
        """Take what belongs to the head; return the rest."""
        head, end, rest = (self._head + data).partition(HEAD_END)
        if not end:
            self._head = head
            return b""
        self._head = b""
        self._request = decode_head(head)
        headers = self._request.headers
        self._in_chunks = headers.get("transfer-encoding") == "chunked"
        self._missing = 1 if self._in_chunks else int(headers.get("content-length", 0))
        self.expects_continue = bool(self._missing and not rest and "expect" in headers)
        return rest

    def _read_body(self, data: bytes) -> bytes:
        if self._in_chunks:
            # Nobody sends another request before the answer.
            self._parts = [b"".join([*self._parts, data])]
            self._missing = int(not self._parts[0].endswith(LAST_CHUNK))
            return b""
        part = data[: self._missing]
        if part:
            self._parts.append(part)
            self._missing -= len(part)
        return data[len(part) :]

    def _take(self) -> Request:
        request = self._request
        assert request is not None
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        body = unchunk(body) if self._in_chunks else body
        chunked = "aws-chunked" in request.headers.get("content-encoding", "")
        request.body = unchunk(body) if chunked else body
        self._request, self._parts = None, []
        return request


def decode_head(head: bytes) -> Request:
    """Read a request's first line and headers."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    path, _, query = target.partition("?")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Request(method, path, query, headers, b"")


def encode_head(response: Response) -> bytes:
    """Return a response's first line and headers, with the empty line at their end."""
    length = len(response.body) if response.length is None else response.length
    extra = "".join([f"{name}: {value}\r\n" for name, value in response.headers])
    return (
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}\r\n"
        f"Date: {DATE}\r\nx-amz-request-id: 0000000000000000\r\n{extra}"
        f"Content-Type: {response.content_type}\r\nContent-Length: {length}\r\n\r\n"
    ).encode("latin-1")


def unchunk(body: bytes) -> bytes:
    """Return the content of a body in chunks, HTTP's or those of `aws-chunked`; no trailers."""
    parts: list[bytes] = []
    start = 0
    while True:
        end = body.index(b"\r\n", start)
        size = int(body[start:end].partition(b";")[0], 16)
        if not size:
            return b"".join(parts)
        parts.append(body[end + 2 : end + 2 + size])
        start = end + 2 + size + 2


def _failure(error: BaseException | None = None) -> Response:
    traceback.print_exception(error or sys.exception())
    return Response(500, b"<Error><Code>InternalError</Code></Error>")
