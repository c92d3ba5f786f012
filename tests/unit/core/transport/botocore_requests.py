"""What botocore would send, and what is sent here, in one form that can be compared."""

from __future__ import annotations

import asyncio
import calendar
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSResponse
from botocore.session import Session

from parallelize_core.transport.client import Client, Request
from parallelize_core.transport.credentials import CredentialSource
from parallelize_core.transport.endpoints import Endpoint, Endpoints
from parallelize_core.transport.pool import Pool
from parallelize_core.transport.retries import RetryBudget
from parallelize_core.transport.signing import Keys

OWN_WORDS = {"amz-sdk-invocation-id", "amz-sdk-request", "user-agent"}
"""What says only which program sends, and how often."""


@dataclass(frozen=True)
class Sent:
    """A request; the query's parts are in order, headers have lower-case names."""

    method: str
    scheme: str
    path: str
    query: tuple[str, ...]
    headers: Mapping[str, str]


class NoBody:
    def stream(self, *_: object, **__: object) -> list[bytes]:
        return []

    def read(self, *_: object) -> bytes:
        return b""


def botocores(session: Session, operation: str, **what: Any) -> Sent:
    """What botocore would send."""
    service = "sqs" if "QueueUrl" in what else "s3"
    client: Any = session.create_client(service)
    seen: list[Any] = []

    def answer(request: Any, **_: object) -> AWSResponse:
        seen.append(request)
        headers: Any = {}
        return AWSResponse(request.url, 200, headers, NoBody())

    client.meta.events.register("before-send", answer)
    getattr(client, operation)(**what)
    [request] = seen
    url = urlsplit(request.url)
    headers = {name.lower(): text(value) for name, value in request.headers.items()}
    headers.setdefault("host", url.netloc)
    return Sent(
        request.method,
        url.scheme,
        url.path,
        tuple(sorted(part if "=" in part else f"{part}=" for part in url.query.split("&") if part)),
        {name: value for name, value in headers.items() if name not in OWN_WORDS},
    )


def ours(endpoint: Endpoint, request: Request, keys: Keys, at: str) -> Sent:
    """What is sent here at the time of a stamp."""
    head = a_client(endpoint, at).head(request, keys).decode("latin-1")
    first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    url = urlsplit(target)
    headers = dict(line.split(": ", 1) for line in lines)
    return Sent(
        method,
        "https" if endpoint.origin.tls else "http",
        target.partition("?")[0] if not url.scheme else url.path,
        tuple(sorted(part for part in target.partition("?")[2].split("&") if part)),
        {name: value for name, value in headers.items() if name not in OWN_WORDS},
    )


def a_client(endpoint: Endpoint, at: str) -> Client:
    seconds = calendar.timegm(time.strptime(at, "%Y%m%dT%H%M%SZ"))
    nothing: Any = None
    return Client(
        endpoint,
        Pool(endpoint.origin, None),
        CredentialSource(nothing, nothing),
        RetryBudget(),
        "test",
        clock=lambda: float(seconds),
    )


def same(session: Session, expected: Sent, request: Request, endpoint: Endpoint) -> None:
    """Compare to the last letter of the signature."""
    credentials: Any = session.get_credentials()
    keys = Keys(credentials.access_key, credentials.secret_key, credentials.token)
    assert ours(endpoint, request, keys, expected.headers["x-amz-date"]) == expected


def bucket_of(session: Session, bucket: str) -> Endpoint:
    return Endpoints(lambda: session).of_bucket(bucket)


def text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def run(task: Any) -> Any:
    return asyncio.run(task)
