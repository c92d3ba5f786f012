"""One call to S3 or SQS: signed, sent, retried, and its failure translated."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Protocol, TypeVar

from parallelize_core.clients import RequestCounts
from parallelize_core.errors import ParallelizeError, UnavailableError, UsageError
from parallelize_core.keys import quoted
from parallelize_core.transport.answers import Reply, ReplyError, hidden_error, translated
from parallelize_core.transport.connection import (
    Answer,
    Body,
    BrokenAnswerError,
    Connection,
    Patience,
    StalledError,
)
from parallelize_core.transport.credentials import CredentialSource
from parallelize_core.transport.endpoints import Endpoint
from parallelize_core.transport.pool import Pool
from parallelize_core.transport.retries import Reason, RetryBudget
from parallelize_core.transport.signing import EMPTY_SHA256, Keys, Signer, Stamp

T = TypeVar("T")

_WITH_LENGTH = {"DELETE", "POST", "PUT"}

MAX_REFUSAL_BYTES = 1024 * 1024
"""How much of an error response is read: those of S3 and SQS have a few hundred bytes."""

EXPECT_BYTES = 1024 * 1024
"""From this size on, the server is asked (Expect: 100-continue) before a body is sent.

Asking costs one round trip; a body that the server refuses would be sent for nothing.
"""


@dataclass(slots=True)
class Request:
    """A request without the parts that its endpoint adds.

    `key` follows the endpoint's own path; `query` is percent-encoded, its parts are sorted and each
    has an =; the names of `headers` are in lower case; `digest` is the body's SHA-256
    or its stand-in; `where` names the object or queue in errors.
    """

    method: str
    key: str
    where: str
    patience: Patience
    query: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: Body = b""
    digest: str = EMPTY_SHA256
    retries_conflicts: bool = True


class Sink(Protocol):
    """Where the body of a successful response goes, piece by piece.

    Its errors are passed on unchanged, except BrokenAnswerError: then the call is retried.
    """

    async def begin(self, reply: Reply) -> bool:
        """Take the headers, once per attempt; return whether the body is wanted."""

    async def write(self, data: bytes) -> bool:
        """Take a piece; return whether more is wanted."""

    async def finish(self) -> None:
        """Take the end."""


class _SinkError(Exception):
    """Holds an error of the sink, to tell it from an error of the service."""


class Client:
    """Calls to one endpoint."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a call needs
        self,
        endpoint: Endpoint,
        pool: Pool,
        credentials: CredentialSource,
        budget: RetryBudget,
        agent: str,
        relocate: Callable[[str], Awaitable[tuple[Endpoint, Pool]]] | None = None,
        clock: Callable[[], float] = time.time,
        counts: RequestCounts | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._pool = pool
        self._credentials = credentials
        self._budget = budget
        self._agent = agent
        self._relocate = relocate
        self._clock = clock
        self._counts = counts or RequestCounts()
        self._skew = 0.0
        self._signer = Signer(endpoint.service, endpoint.region)
        self._stamp = (0, Stamp("", ""))

    async def call(self, request: Request, sink: Sink | None = None) -> Reply:
        """Return a success; its body is in the reply or has gone to `sink`.

        Raises the error tree, `sink`'s errors unchanged, and MemoryError.
        """
        spent = failures = 0
        corrected: set[str] = set()
        while True:
            try:
                reply = await self._attempt(request, sink)
            except (ParallelizeError, MemoryError):
                raise
            except _SinkError as error:
                raise error.__cause__ or error from None
            except Exception as error:  # anything that sockets, TLS and parsers raise
                if await self._correct(error, corrected):
                    continue
                failures += 1
                spent = await self._pause(error, failures, request)
            else:
                self._budget.succeeded(spent)
                return reply

    def head(self, request: Request, keys: Keys) -> bytes:
        """Return a request's first line and headers, as bytes to send."""
        endpoint = self.endpoint
        path = endpoint.path + quoted(request.key)
        if not request.key and endpoint.service != "sqs":
            path = path.rstrip("/") or "/"  # the bucket itself
        stamp = self._now()
        headers = [("host", endpoint.host), ("x-amz-date", stamp.text), *request.headers]
        if endpoint.service != "sqs":
            headers.append(("x-amz-content-sha256", request.digest))
        if keys.token:
            headers.append(("x-amz-security-token", keys.token))
        signature = self._signer.authorization(
            request.method, path, request.query, headers, request.digest, keys, stamp
        )
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        if not lines.count("\r") == lines.count("\n") == len(headers):
            raise ValueError("a header with a line break")
        length = (
            f"content-length: {len(request.body)}\r\n" if request.method in _WITH_LENGTH else ""
        )
        return (
            f"{request.method} {self._target(path, request.query)} HTTP/1.1\r\n{lines}{length}"
            f"{self._expect(request)}{self._proxy_words()}"
            f"user-agent: {self._agent}\r\nauthorization: {signature}\r\n\r\n"
        ).encode("latin-1")

    async def _attempt(self, request: Request, sink: Sink | None) -> Reply:
        keys, region = await self._credentials.keys(), self.endpoint.region
        try:
            head = self.head(request, keys)
        except ValueError as error:
            raise UsageError(f"{request.where} cannot be asked for", str(error)) from error
        for fresh in (False, True):
            connection = await self._pool.take(fresh=fresh)
            try:
                return await self._exchange(connection, request, head, sink)
            except ConnectionError:
                # A server may close a connection just as it is reused. Then no response has
                # begun, and trying a new connection does not count as an attempt.
                if not connection.used or connection.heard:
                    raise
            except ReplyError as error:
                error.keys, error.asked_region = keys, region
                raise
            finally:
                self._pool.give_back(connection)
        raise AssertionError("a fresh connection has not been used")

    async def _exchange(
        self, connection: Connection, request: Request, head: bytes, sink: Sink | None
    ) -> Reply:
        self._counts.count(self.endpoint.service, request.method, request.query, len(request.body))
        answer = await connection.ask(
            head,
            request.body,
            request.patience,
            bodiless=request.method == "HEAD",
            expect=len(request.body) >= EXPECT_BYTES,
        )
        if answer.status >= 300:
            raise ReplyError(Reply(answer.status, answer.headers, await _refusal(answer)))
        if sink is not None:
            return await _pour(answer, sink)
        body = await answer.body()
        reply = Reply(answer.status, answer.headers, body)
        if hidden := hidden_error(reply):
            raise hidden
        return reply

    async def _correct(self, error: Exception, corrected: set[str]) -> bool:
        """Fix what the response complains of, each problem once per call; return whether it did."""
        if not isinstance(error, ReplyError):
            return False
        for applies, correct in (
            (error.expired, self._renew),
            (error.skewed, self._set_clock),
            (error.elsewhere, self._move),
        ):
            if applies and correct.__name__ not in corrected:
                corrected.add(correct.__name__)
                return await correct(error)
        return False

    async def _renew(self, error: ReplyError) -> bool:
        refused = error.keys
        return refused is not None and await self._credentials.renewed(refused) != refused

    async def _set_clock(self, error: ReplyError) -> bool:
        date = error.reply.headers.get("date")
        if not date:
            return False
        self._skew = parsedate_to_datetime(date).timestamp() - self._clock()
        return True

    async def _move(self, error: ReplyError) -> bool:
        """Switch for good to the region that the response names."""
        region = error.region
        if self._relocate is None or not region or region == error.asked_region:
            return False
        if region != self.endpoint.region:
            self.endpoint, self._pool = await self._relocate(region)
            self._signer = Signer(self.endpoint.service, self.endpoint.region)
        return True

    async def _pause(self, error: Exception, failures: int, request: Request) -> int:
        """Wait before the next attempt; return its cost, or raise the translated error."""
        if isinstance(error, ReplyError):
            reason, after = error.reason, error.retry_after
        else:
            stalled = isinstance(error, StalledError)
            reason, after = Reason.STALLED if stalled else Reason.TRANSIENT, None
        if reason is Reason.CONFLICT and not request.retries_conflicts:
            reason = None
        delay = self._budget.delay(reason, failures, after) if reason is not None else None
        if reason is None or delay is None:
            raise _translated(error, request.where) from error
        await asyncio.sleep(delay)
        return self._budget.cost(reason)

    def _now(self) -> Stamp:
        second = int(self._clock() + self._skew)
        if self._stamp[0] != second:
            self._stamp = (second, Stamp.at(second))
        return self._stamp[1]

    def _target(self, path: str, query: str) -> str:
        target = f"{path}?{query}" if query else path
        return f"http://{self.endpoint.host}{target}" if self._pool.forwards else target

    def _proxy_words(self) -> str:
        proxy = self._pool.origin.proxy
        if not self._pool.forwards or proxy is None or not proxy.authorization:
            return ""
        return f"proxy-authorization: {proxy.authorization}\r\n"

    @staticmethod
    def _expect(request: Request) -> str:
        return "expect: 100-continue\r\n" if len(request.body) >= EXPECT_BYTES else ""


async def _refusal(answer: Answer) -> bytes:
    """Return the body of an error response, or as much of it as is useful."""
    body = b""
    while len(body) < MAX_REFUSAL_BYTES and (chunk := await answer.chunk()):
        body += chunk
    return body


async def _pour(answer: Answer, sink: Sink) -> Reply:
    """Copy a body into a sink."""
    reply = Reply(answer.status, answer.headers)
    wanted = await _of_sink(sink.begin(reply))
    while wanted and (chunk := await answer.chunk()):
        wanted = await _of_sink(sink.write(chunk))
    if wanted:
        await _of_sink(sink.finish())
    return reply


async def _of_sink(step: Awaitable[T]) -> T:
    try:
        return await step
    except BrokenAnswerError:
        raise
    except Exception as error:
        raise _SinkError from error


def _translated(error: Exception, where: str) -> ParallelizeError:
    if isinstance(error, ReplyError):
        return translated(error, where)
    why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return UnavailableError(
        f"{where} cannot be reached",
        why,
        "start the local cloud again: parallelize run --local"
        if "127.0.0.1" in why
        else "check the network, the region's name and AWS_ENDPOINT_URL",
    )
