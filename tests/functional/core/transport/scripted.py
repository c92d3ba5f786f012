"""A server that answers as a test tells it to, byte by byte, and stores and queues that ask it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from botocore.session import Session, get_session

from parallelize_core.s3 import AsyncS3Store
from parallelize_core.sqs import AsyncSQSQueue
from parallelize_core.transport.client import Client
from parallelize_core.transport.credentials import CredentialSource
from parallelize_core.transport.endpoints import Endpoint
from parallelize_core.transport.pool import Origin, Pool, Proxy
from parallelize_core.transport.retries import RetryBudget

LOOK_SECONDS = 0.02
GONE = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError)


@dataclass(frozen=True)
class Asked:
    """A request as the server read it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""


Step = Callable[["Exchange"], Awaitable[None]]
"""What the server does with one request."""


@dataclass
class Exchange:
    """One request, and the way to answer it."""

    asked: Asked
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def body(self) -> bytes:
        return await self.reader.readexactly(int(self.asked.headers.get("content-length", 0)))

    def close(self) -> None:
        self.writer.close()


@dataclass
class Server:
    """Does one step for each request, the last one for all that follow."""

    steps: list[Step]
    tls: bool = False
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client closes its connection."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        # Whatever a client does to the connection, the server goes on.
        with suppress(*GONE):
            while not writer.is_closing():
                await self._exchange(reader, writer)
        self.lost.set()
        writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        method, target, _ = first.split(" ")
        headers = dict(line.split(": ", 1) for line in lines)
        exchange = Exchange(Asked(method, target, headers), reader, writer)
        if "expect" not in headers and method != "CONNECT":
            exchange.asked = Asked(method, target, headers, await exchange.body())
        self.asked.append(exchange.asked)
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        await step(exchange)


def answer(body: bytes = b"", status: int = 200, cut: int | None = None, **headers: str) -> Step:
    """Answer at once; with `cut` only that many bytes of it, and the end of the connection."""

    async def step(exchange: Exchange) -> None:
        said = {"content-length": str(len(body)), **headers}
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in said.items())
        whole = f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode()
        if exchange.asked.method != "HEAD":
            whole += body
        await exchange.send(whole if cut is None else whole[:cut])
        if cut is not None:
            exchange.close()

    return step


def refusal(code: str, status: int, message: str = "words", **headers: str) -> Step:
    """Answer with an error of S3."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return answer(body.encode(), status, **headers)


def raw(data: bytes) -> Step:
    """Answer these bytes, and end the connection."""

    async def step(exchange: Exchange) -> None:
        await exchange.send(data)
        exchange.close()

    return step


def trickle(start: bytes, piece: bytes = b"x") -> Step:
    """Begin to answer, and go on by a byte at a time, forever."""

    async def step(exchange: Exchange) -> None:
        await exchange.send(start)
        while True:
            await asyncio.sleep(LOOK_SECONDS / 2)
            await exchange.send(piece)

    return step


async def silence(exchange: Exchange) -> None:
    """Say nothing, until the client goes."""
    await exchange.reader.read()


async def hang_up(exchange: Exchange) -> None:
    """Say nothing, and go."""
    exchange.close()


@asynccontextmanager
async def served(*steps: Step, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Run a server on loopback."""
    server = Server([*steps], tls is not None)
    # Room for all that one test connects at once: what has none is tried again after a second.
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls, backlog=1000)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        # The steps of connections that are still open end with them.
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            if "Server.serve" in repr(task):
                task.cancel()


def a_session() -> Session:
    session = get_session()
    session.set_config_variable("region", "eu-west-1")
    session.set_credentials("AKIDEXAMPLE", "secret")
    return session


one_session = cache(a_session)
"""For those who ask it for nothing but its credentials."""


@dataclass
class Caller:
    """A client of a server with nothing that waits longer than a test would."""

    client: Client
    pool: Pool
    threads: ThreadPoolExecutor

    def store(self) -> AsyncS3Store:
        return AsyncS3Store(
            "bucket", self._connected, never, self.threads, self.threads, asyncio.Semaphore(8)
        )

    def queue(self) -> AsyncSQSQueue:
        return AsyncSQSQueue("https://sqs/1/queue", self._connected)

    async def _connected(self) -> Client:
        return self.client


@asynccontextmanager
async def calling(
    server: Server,
    service: str = "s3",
    session: Any = None,
    context: ssl.SSLContext | None = None,
    proxy: Proxy | None = None,
    host: str = "127.0.0.1",
    **more: Any,
) -> AsyncIterator[Caller]:
    """Make a client of a server; it waits for no jitter."""
    origin = Origin(host, server.port, context is not None, proxy)
    endpoint = Endpoint(
        origin, f"{host}:{server.port}", "/bucket/" if service == "s3" else "/", "eu-west-1",
        service, sends_checksums=True, checks_checksums=True,
    )  # fmt: skip
    threads = ThreadPoolExecutor(4)
    pool = Pool(origin, context, LOOK_SECONDS)
    credentials = CredentialSource(lambda: session or one_session(), threads)
    budget = more.pop("budget", None) or RetryBudget(lambda low, high: 0.0)
    client = Client(endpoint, pool, credentials, budget, "test", **more)
    try:
        yield Caller(client, pool, threads)
    finally:
        pool.close()
        credentials.close()
        threads.shutdown()


def never() -> Any:
    raise AssertionError("nothing of this goes by boto3")


def targets(asked: Iterable[Asked]) -> list[str]:
    return [f"{one.method} {one.target}" for one in asked]


class NoRetries:
    """A budget that lets nothing be tried again."""

    def succeeded(self, spent: int) -> None:
        pass

    def delay(self, *_: object) -> None:
        return None
