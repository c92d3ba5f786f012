"""The libraries that are compared: how each makes the same three calls.

`get` reads an object of 1 KiB, `receive` and `send` take and give ten messages.
"""

# ruff: noqa: PLC0415 - a candidate that is not installed must not stop the others

from __future__ import annotations

import asyncio
import hashlib
import http.client
import io
import json
import os
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from parallelize_core.transport.client import Client, Request
from parallelize_core.transport.connection import Patience
from parallelize_core.transport.credentials import CredentialSource
from parallelize_core.transport.endpoints import Endpoint
from parallelize_core.transport.objects import ObjectRequests
from parallelize_core.transport.pool import Origin, Pool
from parallelize_core.transport.retries import RetryBudget
from parallelize_core.transport.signing import Keys

URL = "https://sqs.us-east-1.amazonaws.com/123456789012/queue"
KEYS = Keys("AKIDEXAMPLE", "secret")
BODIES = [json.dumps({"run": "run", "key": f"folder/{n}.txt", "size": 1024}) for n in range(10)]
RECEIVE = {
    "QueueUrl": URL, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1, "VisibilityTimeout": 120,
    "MessageSystemAttributeNames": ["ApproximateReceiveCount"],
}  # fmt: skip
SEND = {
    "QueueUrl": URL,
    "Entries": [{"Id": str(n), "MessageBody": b} for n, b in enumerate(BODIES)],
}

Call = Callable[[str], Awaitable[object]]
Words = tuple[str, str, dict[str, str], bytes]

CANNOT = {
    "boto3": "run on a loop; notice a trickle",
    "niquests": "sign; notice a trickle",
    "httpx": "sign; ask before it sends a body; notice a trickle",
    "urllib3": "run on a loop; sign; notice a trickle",
    "awscrt": "answer on the loop: each call goes to a thread of its own and back",
    "aiohttp": "sign; notice a trickle",
    "http.client": "run on a loop; sign; notice a trickle, or headers that break off",
    "pycurl": "run on a loop without a driver for its sockets",
    "obstore": "SQS; a condition on an upload in parts; keys with //; metadata in a HEAD",
    "parallelize": "anything but S3 and SQS",
}
"""As of the versions that were measured, and in the words of what a worker needs."""


class Signed:
    """Requests with this project's signature, as parts."""

    def __init__(self, port: int) -> None:
        self._clients = {name: self._client(name, port) for name in ("s3", "sqs")}
        self._objects = ObjectRequests("bucket")

    @staticmethod
    def _client(service: str, port: int) -> Client:
        nothing: Any = None
        origin = Origin("127.0.0.1", port, tls=False)
        path = "/bucket/" if service == "s3" else "/"
        endpoint = Endpoint(
            origin, f"127.0.0.1:{port}", path, "us-east-1", service, checks_checksums=True
        )
        return Client(
            endpoint, Pool(origin, None), CredentialSource(nothing, nothing), RetryBudget(), "bench"
        )

    def words(self, kind: str) -> Words:
        """Return method, target, headers and body."""
        if kind == "get":
            request, client = self._objects.get("folder/file.txt"), self._clients["s3"]
        else:
            request, client = sqs_request(kind), self._clients["sqs"]
        first, *lines = client.head(request, KEYS).decode().removesuffix("\r\n\r\n").split("\r\n")
        method, target, _ = first.split(" ")
        headers = dict(line.split(": ", 1) for line in lines)
        return method, target, headers, request.body


def sqs_request(kind: str) -> Request:
    action, words = {"receive": ("ReceiveMessage", RECEIVE), "send": ("SendMessageBatch", SEND)}[
        kind
    ]
    body = json.dumps(words).encode()
    headers = [
        ("content-type", "application/x-amz-json-1.0"), ("x-amz-target", f"AmazonSQS.{action}")
    ]  # fmt: skip
    return Request(
        "POST", "", "queue", Patience(30), "", headers, body, hashlib.sha256(body).hexdigest()
    )


def decoded(kind: str, body: bytes) -> object:
    return body if kind == "get" else json.loads(body)


def with_boto3(port: int) -> tuple[Call, str]:
    import boto3

    session = boto3.Session("AKIDEXAMPLE", "secret", region_name="us-east-1")
    s3 = session.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
    sqs = session.client("sqs", endpoint_url=f"http://127.0.0.1:{port}")

    async def call(kind: str) -> object:
        if kind == "get":
            return s3.get_object(Bucket="bucket", Key="folder/file.txt")["Body"].read()
        return (
            sqs.receive_message(**RECEIVE) if kind == "receive" else sqs.send_message_batch(**SEND)
        )

    return call, boto3.__version__


def with_urllib3(port: int) -> tuple[Call, str]:
    import urllib3

    signed, pool = Signed(port), urllib3.HTTPConnectionPool("127.0.0.1", port)

    async def call(kind: str) -> object:
        method, target, headers, body = signed.words(kind)
        answer = pool.urlopen(method, target, body or None, headers, retries=False)
        return decoded(kind, answer.data)

    return call, version("urllib3")


def with_http_client(port: int) -> tuple[Call, str]:
    signed, connection = Signed(port), http.client.HTTPConnection("127.0.0.1", port)

    async def call(kind: str) -> object:
        method, target, headers, body = signed.words(kind)
        connection.request(method, target, body or None, headers)
        return decoded(kind, connection.getresponse().read())

    return call, sys.version.partition(" ")[0]


def with_aiohttp(port: int) -> tuple[Call, str]:
    import aiohttp
    import yarl

    signed, sessions = Signed(port), []

    async def call(kind: str) -> object:
        if not sessions:
            sessions.append(
                aiohttp.ClientSession(
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                    skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
                )
            )
        method, target, headers, body = signed.words(kind)
        headers.pop("content-length", None)
        url = yarl.URL(f"http://127.0.0.1:{port}{target}", encoded=True)
        async with sessions[0].request(method, url, headers=headers, data=body or None) as answer:
            return decoded(kind, await answer.read())

    return call, aiohttp.__version__


def with_httpx(port: int) -> tuple[Call, str]:
    import httpx

    signed, client = Signed(port), httpx.AsyncClient(trust_env=False)

    async def call(kind: str) -> object:
        method, target, headers, body = signed.words(kind)
        url = f"http://127.0.0.1:{port}{target}"
        answer = await client.request(method, url, headers=headers, content=body)
        return decoded(kind, answer.content)

    return call, httpx.__version__


def with_niquests(port: int) -> tuple[Call, str]:
    import niquests

    signed, sessions = Signed(port), []

    async def call(kind: str) -> object:
        if not sessions:
            sessions.append(niquests.AsyncSession())
            sessions[0].trust_env = False
        method, target, headers, body = signed.words(kind)
        url = f"http://127.0.0.1:{port}{target}"
        answer = await sessions[0].request(method, url, headers=headers, data=body)
        return decoded(kind, answer.content)

    return call, niquests.__version__


def with_awscrt(port: int) -> tuple[Call, str]:
    import awscrt
    from awscrt import http as crt
    from awscrt import io as crt_io

    signed, group = Signed(port), crt_io.EventLoopGroup(1)
    bootstrap = crt_io.ClientBootstrap(group, crt_io.DefaultHostResolver(group))
    connection = crt.HttpClientConnection.new("127.0.0.1", port, bootstrap).result()

    async def call(kind: str) -> object:
        method, target, headers, body = signed.words(kind)
        stream = io.BytesIO(body) if body else None
        request = crt.HttpRequest(method, target, crt.HttpHeaders([*headers.items()]), stream)
        chunks: list[bytes] = []
        exchange = connection.request(
            request, lambda **_: None, lambda chunk, **_: chunks.append(chunk)
        )
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        exchange.completion_future.add_done_callback(
            lambda _: loop.call_soon_threadsafe(done.set_result, None)
        )
        exchange.activate()
        await done
        return decoded(kind, b"".join(chunks))

    return call, awscrt.__version__


def with_pycurl(port: int) -> tuple[Call, str]:
    import pycurl

    signed, curl = Signed(port), pycurl.Curl()

    async def call(kind: str) -> object:
        method, target, headers, body = signed.words(kind)
        found = io.BytesIO()
        curl.reset()
        curl.setopt(pycurl.URL, f"http://127.0.0.1:{port}{target}")
        curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in headers.items()])
        if method == "POST":
            curl.setopt(pycurl.POSTFIELDS, body)
        curl.setopt(pycurl.WRITEFUNCTION, found.write)
        curl.perform()
        return decoded(kind, found.getvalue())

    return call, pycurl.version.partition(" ")[0]


def with_obstore(port: int) -> tuple[Call, str]:
    import obstore
    from obstore.store import S3Store

    store = S3Store(
        "bucket", endpoint=f"http://127.0.0.1:{port}", region="us-east-1", access_key_id="AKID",
        secret_access_key="secret", client_options={"allow_http": True},
    )  # fmt: skip

    async def call(kind: str) -> object:
        if kind != "get":
            raise NotImplementedError
        answer = await obstore.get_async(store, "folder/file.txt")
        return await answer.bytes_async()

    return call, obstore.__version__


def with_parallelize(port: int) -> tuple[Call, str]:
    from botocore.session import get_session

    from parallelize_core.async_clients import AsyncClients
    from parallelize_core.version import VERSION

    os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
    session = get_session()
    session.set_config_variable("region", "us-east-1")
    session.set_credentials("AKIDEXAMPLE", "secret")
    made: list[Any] = []

    async def call(kind: str) -> object:
        if not made:
            clients = AsyncClients.of_session(session)
            made.extend([clients.store("bucket"), clients.queue(URL)])
        store, queue = made
        if kind == "get":
            return await store.get("folder/file.txt")
        return await (queue.receive(10, 1, 120) if kind == "receive" else queue.send(BODIES))

    return call, VERSION


CANDIDATES: dict[str, Callable[[int], tuple[Call, str]]] = {
    "boto3": with_boto3,
    "niquests": with_niquests,
    "httpx": with_httpx,
    "urllib3": with_urllib3,
    "awscrt": with_awscrt,
    "aiohttp": with_aiohttp,
    "http.client": with_http_client,
    "pycurl": with_pycurl,
    "obstore": with_obstore,
    "parallelize": with_parallelize,
}
