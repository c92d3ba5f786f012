"""Persistent connections: one pool per server, with its TLS and its proxy."""

from __future__ import annotations

import asyncio
import base64
import ssl
import sys
from collections import deque
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from parallelize_core.transport.connection import (
    BrokenAnswerError,
    Connection,
    Patience,
    PatienceError,
)

CONNECT_SECONDS = 5.0
"""For the DNS lookup and the TCP connection together, and the same again for TLS."""

IDLE_SECONDS = 60.0
"""Idle connections are closed after this: NAT gateways drop one after 350 s.

https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-troubleshooting.html
"""

LOOK_SECONDS = 0.5
"""How often the deadlines of all connections are checked."""

TLS_CONNECTIONS = 128
"""Connections over TLS to one server at a time; further calls wait for one.

Each takes 0.3 MiB, most of it asyncio's buffer, and half a millisecond of CPU to make. With answers
after 30 ms, 128 carry 4,200 small requests a second, which is about what one core can make.
"""


class Proxy(NamedTuple):
    """A proxy; `authorization` is the header's value, or empty."""

    host: str
    port: int
    tls: bool = False
    authorization: str = ""

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """Parse a URL from a proxy variable, with or without a scheme."""
        if "://" not in url:
            url = f"http://{url.removeprefix('//')}"
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        authorization = ""
        if parts.username and parts.password:
            words = f"{unquote(parts.username)}:{unquote(parts.password)}"
            authorization = f"Basic {base64.b64encode(words.encode()).decode()}"
        return cls(parts.hostname or "", parts.port or (443 if tls else 80), tls, authorization)


class Origin(NamedTuple):
    """A server, and how to reach it."""

    host: str
    port: int
    tls: bool
    proxy: Proxy | None = None


def tls_context(verify: bool | str, bundle: str) -> ssl.SSLContext:  # noqa: FBT001 - as botocore has it
    """Return the settings by which a server's certificate and name are verified.

    `verify` is the path of a CA bundle, True for `bundle`, or False for no verification.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.options |= ssl.OP_NO_COMPRESSION
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(bundle if verify is True else verify)
    return context


class Pool:
    """The connections to one server."""

    def __init__(
        self,
        origin: Origin,
        context: ssl.SSLContext | None,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self.origin = origin
        self._context = context
        self._look_seconds = look_seconds
        self._room = asyncio.Semaphore(sys.maxsize if context is None else TLS_CONNECTIONS)
        self._idle: deque[Connection] = deque()
        self._busy: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def forwards(self) -> bool:
        """Whether requests go through a proxy that reads them, and so need the full URL."""
        return self.origin.proxy is not None and not self.origin.tls

    async def take(self, *, fresh: bool = False) -> Connection:
        """Return a connection for exclusive use; a `fresh` one has not been used before."""
        await self._room.acquire()
        try:
            return await self._taken(fresh=fresh)
        except BaseException:
            self._room.release()
            raise

    async def _taken(self, *, fresh: bool) -> Connection:
        while self._idle and not fresh:
            # The most recent first, so that the ones that are not needed grow idle.
            connection = self._idle.pop()
            if connection.alive:
                self._busy.add(connection)
                return connection
        connection = await self._connect()
        if self._closed:
            connection.abort()
            raise BrokenAnswerError("the client is closed")
        self._busy.add(connection)
        self._watch()
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose response has been read; close any other."""
        self._busy.discard(connection)
        self._room.release()
        if connection.finish():
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            connection.abort()

    def close(self) -> None:
        """Close all connections; pending calls get an error."""
        self._closed = True
        for connection in (*self._idle, *self._busy):
            connection.abort()
        self._idle.clear()
        if self._timer is not None:
            self._timer.cancel()

    async def _connect(self) -> Connection:
        near: Proxy | Origin = self.origin.proxy or self.origin
        seconds = CONNECT_SECONDS * (2 if near.tls else 1)
        try:
            async with asyncio.timeout(seconds):
                connection = await self._connect_to(near)
        except TimeoutError as error:
            raise PatienceError(f"no connection to {near.host} within {seconds:g} s") from error
        if self.origin.proxy is not None and self.origin.tls:
            try:
                await self._tunnel(connection, self.origin.proxy)
            except BaseException:
                connection.abort()
                raise
        return connection

    async def _connect_to(self, near: Proxy | Origin) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(loop),
            near.host,
            near.port,
            ssl=self._context if near.tls else None,
            server_hostname=near.host if near.tls else None,
            ssl_handshake_timeout=CONNECT_SECONDS if near.tls else None,
        )
        return connection

    async def _tunnel(self, connection: Connection, proxy: Proxy) -> None:
        """Have the proxy connect to the server, and start TLS through the tunnel."""
        loop = asyncio.get_running_loop()
        name = f"[{self.origin.host}]" if ":" in self.origin.host else self.origin.host
        head = f"CONNECT {name}:{self.origin.port} HTTP/1.1\r\nHost: {name}:{self.origin.port}\r\n"
        if proxy.authorization:
            head += f"Proxy-Authorization: {proxy.authorization}\r\n"
        async with asyncio.timeout(2 * CONNECT_SECONDS):
            answer = await connection.ask(
                f"{head}\r\n".encode("latin-1"), b"", Patience(CONNECT_SECONDS), bodiless=True
            )
            transport = connection.transport
            if answer.status != 200 or transport is None or self._context is None:
                raise BrokenAnswerError(f"the proxy answers {answer.status} to CONNECT")
            connection.finish()
            connection.used = False
            connection.transport = await loop.start_tls(
                transport,
                connection,
                self._context,
                server_hostname=self.origin.host,
                ssl_handshake_timeout=CONNECT_SECONDS,
            )

    def _watch(self) -> None:
        if self._timer is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(self._look_seconds, self._look)

    def _look(self) -> None:
        """Abort what takes too long, and close what has been idle for too long."""
        now = asyncio.get_running_loop().time()
        for connection in [*self._busy]:
            connection.look(now)
        while self._idle and (
            not self._idle[0].alive or now - self._idle[0].idle_since > IDLE_SECONDS
        ):
            self._idle.popleft().abort()
        self._timer = None
        if self._busy or self._idle:
            self._watch()


def default_bundle() -> str:
    """Return botocore's default CA bundle: certifi's if installed, else its own."""
    with suppress(ImportError):
        from certifi import where  # noqa: PLC0415 - may not be installed

        return where()
    # Next to botocore's code, which would take long to import.
    package = find_spec("botocore")
    return str(Path(package.origin).with_name("cacert.pem")) if package and package.origin else ""
