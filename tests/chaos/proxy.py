"""A network that can be made bad: each agent reaches the cloud through a door of its own.

A door is a loopback port in front of the endpoint. `Door.impose` gives it a trouble for some
seconds; which requests it hits is drawn from the trouble's own random numbers. The service of a
request is in its signature, so an agent can be cut off from SQS and still reach S3.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tests.chaos.schedule import Kind

T = TypeVar("T")

_SIGNED_FOR = re.compile(rb"Credential=[^,]*/(s3|sqs)/aws4_request")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect: *100-continue", re.IGNORECASE)
_CONNECTION = re.compile(rb"\r\nconnection: *[^\r]*", re.IGNORECASE)
_LOOK_SECONDS = 0.05

_CLOSED = (ConnectionError, asyncio.IncompleteReadError)


@dataclass(frozen=True)
class Trouble:
    """What happens to a share of the requests through a door, until a time of the clock.

    `hit` counts the requests that met it.
    """

    kind: Kind
    until: float
    share: float
    chance: random.Random
    hit: Counter[Kind]

    @property
    def over(self) -> bool:
        """Whether it has passed."""
        return time.monotonic() >= self.until

    def hits(self, service: str) -> bool:
        """Whether the next request to `service` meets it."""
        if self.over:
            return False
        if self.kind in {Kind.NO_SQS, Kind.NO_S3}:
            return self.kind == f"no-{service}"
        return self.chance.random() < self.share


@dataclass(frozen=True)
class Request:
    """A request as it came; `service` is s3, sqs or empty."""

    head: bytes
    body: bytes
    service: str


class Door:
    """One agent's way to the cloud."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self._upstream = upstream
        self._troubles: tuple[Trouble, ...] = ()
        self._server: asyncio.Server | None = None
        self._visitors: set[asyncio.Task[None]] = set()

    @property
    def endpoint(self) -> str:
        """What AWS_ENDPOINT_URL has to be."""
        assert self._server
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    def impose(self, trouble: Trouble) -> None:
        """Give the door one trouble more."""
        self._troubles = (*(old for old in self._troubles if not old.over), trouble)

    async def open(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._enter, "127.0.0.1", 0)

    def close(self) -> None:
        """Let nobody in any more, and those inside go."""
        assert self._server
        self._server.close()
        for visitor in self._visitors:
            visitor.cancel()

    def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Nobody else keeps the task, and one that nobody keeps may be collected unfinished.
        visitor = asyncio.create_task(self._serve(reader, writer))
        self._visitors.add(visitor)
        visitor.add_done_callback(self._visitors.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(*_CLOSED):
            while request := await _read_request(reader, writer):
                if not await self._answer(request, writer):
                    break
        # Not `close`: whoever is on the other side shall meet a reset, not an orderly end.
        writer.transport.abort()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Answer a request, well or badly; return whether the connection is of further use."""
        trouble = next((t for t in self._troubles if t.hits(request.service)), None)
        answer: bytes | None = None
        match _counted(trouble):
            case Kind.NO_S3 | Kind.NO_SQS | Kind.LOSE_REQUEST:
                await self._end_of_partition(request.service)
            case Kind.THROTTLE:
                answer = _throttled(request)
            case Kind.ERROR:
                answer = _failed(request)
            case Kind.SLOW:
                assert trouble
                await asyncio.sleep(trouble.chance.uniform(0.1, 1.0))
                answer = await self._forward(request)
            case Kind.LOSE_ANSWER:
                await self._forward(request)
            case Kind.CUT:
                whole = await self._forward(request)
                writer.write(whole[: len(whole) - 1 - len(whole) // 4])
                await writer.drain()
            case _:
                answer = await self._forward(request)
        if answer is None or await self._end_of_partition(request.service):
            return False
        writer.write(answer)
        await writer.drain()
        return True

    async def _end_of_partition(self, service: str) -> bool:
        """Wait while `service` is cut off, as packets do that nobody answers; say if it was."""
        waited = False
        while any(t.kind == f"no-{service}" and not t.over for t in self._troubles):
            waited = True
            await asyncio.sleep(_LOOK_SECONDS)
        return waited

    async def _forward(self, request: Request) -> bytes:
        reader, writer = await asyncio.open_connection(*self._upstream)
        try:
            # One connection for one request: its answer then ends where the connection does.
            head = _CONNECTION.sub(b"", _EXPECT.sub(b"", request.head))
            writer.write(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + request.body)
            return _CONNECTION.sub(b"", await reader.read(-1), count=1)
        finally:
            writer.close()


def _counted(trouble: Trouble | None) -> Kind | None:
    if trouble:
        trouble.hit[trouble.kind] += 1
    return trouble.kind if trouble else None


async def _read_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    if _EXPECT.search(head):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    length = _LENGTH.search(head)
    body = await reader.readexactly(int(length[1])) if length else b""
    service = _SIGNED_FOR.search(head)
    return Request(head, body, service[1].decode() if service else "")


def _throttled(request: Request) -> bytes:
    if request.service == "s3":
        return _s3_error(503, "SlowDown", "Please reduce your request rate.")
    return _sqs_error(400, "RequestThrottled")


def _failed(request: Request) -> bytes:
    if request.service == "s3":
        return _s3_error(500, "InternalError", "We encountered an internal error.")
    return _sqs_error(500, "InternalFailure")


def _s3_error(status: int, code: str, message: str) -> bytes:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return _response(status, "application/xml", body)


def _sqs_error(status: int, code: str) -> bytes:
    body = f'{{"__type": "com.amazonaws.sqs#{code}", "message": "on purpose"}}'
    return _response(status, "application/x-amz-json-1.0", body)


def _response(status: int, kind: str, body: str) -> bytes:
    lines = f"HTTP/1.1 {status} Error\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return f"{lines}\r\n{body}".encode()


class Network:
    """All doors, served by one thread; to be used as a context."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self._upstream = (parts.hostname or "", parts.port or 80)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Network:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def open_door(self) -> Door:
        """Return a new door, which is open."""
        door = Door(self._upstream)
        self._do(door.open())
        return door

    def close_door(self, door: Door) -> None:
        """Close a door that nobody needs any more."""
        self._loop.call_soon_threadsafe(door.close)

    async def _cancel_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
