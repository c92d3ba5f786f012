"""A network that can be made bad: each agent reaches the cloud through a door of its own.

A door is a loopback port in front of the endpoint. `Door.impose` gives it a trouble for some
seconds; which requests it hits is drawn from the trouble's own random numbers. The service of a
request is in its signature, so an agent can be cut off from SQS and still reach S3.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import ssl
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.chaos.schedule import Kind

T = TypeVar("T")

_SIGNED_FOR = re.compile(rb"Credential=[^,]*/(s3|sqs)/aws4_request")
_CHUNKED = re.compile(rb"^transfer-encoding: *chunked", re.IGNORECASE | re.MULTILINE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect: *100-continue", re.IGNORECASE)
_CONNECTION = re.compile(rb"\r\nconnection: *[^\r]*", re.IGNORECASE)
_LOOK_SECONDS = 0.05

_CLOSED = (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError)
_OF_ONE_SERVICE = {
    Kind.NO_SQS: "sqs", Kind.BUSY_SQS: "sqs",
    Kind.NO_S3: "s3", Kind.BUSY_S3: "s3", Kind.OUTAGE: "s3",
}  # fmt: skip
_WRONG_RECORD = b"\x17\x03\x03\x00\x40" + bytes(64)
"""Looks like a TLS record of 64 bytes, and cannot be deciphered."""

_NO_HTTP = b"SSH-2.0-something-else\r\n\r\n"
_NO_CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno length\r\n"
_TRICKLE_SECONDS = 0.5


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
        if self.kind in _OF_ONE_SERVICE:
            return _OF_ONE_SERVICE[self.kind] == service
        return self.chance.random() < self.share


@dataclass(frozen=True)
class Request:
    """A request as it came; `service` is s3, sqs or empty."""

    head: bytes
    body: bytes
    service: str

    @property
    def verb(self) -> str:
        """GET, PUT, or another."""
        return self.head.split(b" ", 1)[0].decode()

    @property
    def path(self) -> str:
        """Its path, without a query."""
        return self.head.split(b" ", 2)[1].partition(b"?")[0].decode()


@dataclass
class Watched:
    """What all doors know: inputs that are refused, by path, and when a result was written.

    `results` are times since 1970 with the door through which each went.
    """

    refused: Mapping[str, Kind] = field(default_factory=dict)
    results_path: str = "-"
    hit: Counter[Kind] = field(default_factory=Counter)
    results: list[tuple[float, Door]] = field(default_factory=list)
    troubles: tuple[Trouble, ...] = ()

    def refusal(self, request: Request) -> bytes | None:
        """Return S3's answer to a request for an object that is refused."""
        kind = self.refused.get(request.path)
        if kind is None or request.verb not in {"GET", "HEAD"}:
            return None
        if kind is Kind.FORBIDDEN:
            self.hit[kind] += 1
            return _s3_error(403, "AccessDenied", "Access Denied", request.verb)
        if request.verb == "HEAD":
            return None
        self.hit[kind] += 1
        message = "The operation is not valid for the object's storage class"
        return _s3_error(403, "InvalidObjectState", message)

    def note(self, request: Request, answer: bytes, door: Door) -> None:
        """Take note of a result that was written."""
        written = request.verb == "PUT" and answer.startswith(b"HTTP/1.1 200")
        if written and request.path.startswith(self.results_path):
            self.results.append((time.time(), door))


class Door:
    """One agent's way to the cloud."""

    def __init__(
        self, upstream: tuple[str, int], context: ssl.SSLContext, watched: Watched
    ) -> None:
        self._context = context
        self._watched = watched
        self._upstream = upstream
        self._troubles: tuple[Trouble, ...] = ()
        self._server: asyncio.Server | None = None
        self._visitors: set[asyncio.Task[None]] = set()

    @property
    def endpoint(self) -> str:
        """What AWS_ENDPOINT_URL has to be."""
        assert self._server
        host, port = self._server.sockets[0].getsockname()
        return f"https://{host}:{port}"

    @property
    def in_trouble(self) -> bool:
        """Whether some of its requests may not arrive now."""
        return any(not trouble.over for trouble in self._troubles)

    def impose(self, trouble: Trouble) -> None:
        """Give the door one trouble more."""
        self._troubles = (*(old for old in self._troubles if not old.over), trouble)

    async def open(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._enter, "127.0.0.1", 0, ssl=self._context)

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
        # Not `close`: the other side shall meet a reset, not an orderly end.
        writer.transport.abort()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Answer a request, well or badly; return whether the connection is of further use."""
        troubles = (*self._watched.troubles, *self._troubles)
        trouble = next((t for t in troubles if t.hits(request.service)), None)
        answer: bytes | None = None
        match _counted(trouble):
            case Kind.NO_S3 | Kind.NO_SQS | Kind.LOSE_REQUEST:
                await self._end_of_partition(request.service)
            case Kind.THROTTLE | Kind.BUSY_S3 | Kind.BUSY_SQS | Kind.OUTAGE:
                answer = _throttled(request)
            case Kind.ERROR:
                answer = _failed(request)
            case Kind.SLOW:
                assert trouble
                await asyncio.sleep(trouble.chance.uniform(0.1, 1.0))
                answer = await self._forward(request)
            case Kind.LOSE_ANSWER:
                await self._forward(request)
            case Kind.CUT | Kind.CORRUPT | Kind.GARBLE:
                assert trouble
                await self._spoil(request, writer, trouble)
            case Kind.TRICKLE:
                assert trouble
                await self._trickle(await self._forward(request), writer, trouble)
                return True
            case _:
                answer = await self._forward(request)
        if answer is None or await self._end_of_partition(request.service):
            return False
        writer.write(answer)
        await writer.drain()
        return True

    async def _spoil(
        self, request: Request, writer: asyncio.StreamWriter, trouble: Trouble
    ) -> None:
        """Let the service act, and answer with what no client can take for an answer."""
        whole = await self._forward(request)
        match trouble.kind:
            case Kind.CUT:
                writer.write(whole[: len(whole) - 1 - len(whole) // 4])
            case Kind.CORRUPT:
                writer.write(whole[: len(whole) // 2])
            case _:
                writer.write(trouble.chance.choice((_NO_HTTP, _NO_CHUNK)))
        await writer.drain()
        if trouble.kind is Kind.CORRUPT:
            with suppress(OSError):
                os.write(writer.get_extra_info("socket").fileno(), _WRONG_RECORD)

    async def _trickle(self, answer: bytes, writer: asyncio.StreamWriter, trouble: Trouble) -> None:
        sent = 0
        while not trouble.over and sent < len(answer):
            writer.write(answer[sent : sent + 1])
            await writer.drain()
            sent += 1
            await asyncio.sleep(_TRICKLE_SECONDS)
        writer.write(answer[sent:])
        await writer.drain()

    async def _end_of_partition(self, service: str) -> bool:
        """Wait while `service` is cut off, as packets do that nobody answers; say if it was."""
        waited = False
        while any(t.kind == f"no-{service}" and not t.over for t in self._troubles):
            waited = True
            await asyncio.sleep(_LOOK_SECONDS)
        return waited

    async def _forward(self, request: Request) -> bytes:
        """Return what the service answers, also to a request that meets some trouble."""
        if refusal := self._watched.refusal(request):
            return refusal
        reader, writer = await asyncio.open_connection(*self._upstream)
        try:
            # One connection for one request: its answer then ends where the connection does.
            head = _CONNECTION.sub(b"", _EXPECT.sub(b"", request.head))
            writer.write(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + request.body)
            answer = _CONNECTION.sub(b"", await reader.read(-1), count=1)
            self._watched.note(request, answer, self)
            return answer
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
    if _CHUNKED.search(head):
        body = await _read_chunks(reader)
    else:
        body = await reader.readexactly(int(length[1])) if length else b""
    service = _SIGNED_FOR.search(head)
    return Request(head, body, service[1].decode() if service else "")


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    """Read a body in chunks, as botocore sends one over TLS, and return it as it came."""
    parts = []
    size = -1
    while size != 0:
        line = await reader.readuntil(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        parts += [line, await reader.readexactly(size + 2) if size else b""]
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        parts.append(line)
    return b"".join([*parts, b"\r\n"])


def _throttled(request: Request) -> bytes:
    if request.service == "s3":
        return _s3_error(503, "SlowDown", "Please reduce your request rate.", request.verb)
    return _sqs_error(400, "RequestThrottled")


def _failed(request: Request) -> bytes:
    if request.service == "s3":
        return _s3_error(500, "InternalError", "We encountered an internal error.")
    return _sqs_error(500, "InternalFailure")


def _s3_error(status: int, code: str, message: str, verb: str = "GET") -> bytes:
    if verb == "HEAD":
        return _response(status, "application/xml", "")
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return _response(status, "application/xml", body)


def _sqs_error(status: int, code: str) -> bytes:
    body = f'{{"__type": "com.amazonaws.sqs#{code}", "message": "on purpose"}}'
    return _response(status, "application/x-amz-json-1.0", body)


def _response(status: int, kind: str, body: str) -> bytes:
    lines = f"HTTP/1.1 {status} Error\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return f"{lines}\r\n{body}".encode()


def make_certificate(folder: Path) -> Path:
    """Make a certificate of 127.0.0.1 that signs itself; its key lies beside it.

    It is good for a day before and after now: clocks may be wrong.
    """
    path, key = folder / "authority.pem", ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "chaos")])
    host = x509.IPAddress(IPv4Address("127.0.0.1"))
    now, day = datetime.now(UTC), timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([host]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.with_suffix(".key").write_bytes(text)
    return path


class Network:
    """All doors, served by one thread; to be used as a context."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        """Make the doors' certificate below `folder`, which exists."""
        self.authority = make_certificate(folder)
        self.watched = Watched()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.authority, self.authority.with_suffix(".key"))
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
        door = Door(self._upstream, self._context, self.watched)
        self._do(door.open())
        return door

    @property
    def has_outage(self) -> bool:
        """Whether all doors are in trouble."""
        return any(not trouble.over for trouble in self.watched.troubles)

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
