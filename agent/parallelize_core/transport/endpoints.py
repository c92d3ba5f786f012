"""Where a bucket and the queues are: botocore builds a request, which is never sent.

So botocore decides on regions, partitions, endpoint variables, dual-stack and FIPS endpoints,
accelerated and access points' names, the style of the bucket's address, proxies and CA bundles.
"""

from __future__ import annotations

import os
import re
import ssl
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from parallelize_core.errors import UsageError
from parallelize_core.transport.pool import Origin, Proxy, default_bundle, tls_context

if TYPE_CHECKING:
    from botocore.session import Session


_PROBE_KEY = "probe"
NOT_SENT = "x-parallelize-not-sent"
"""Marks the response to a request that was only built to see where it would go."""

_EMPTY_CRC32 = "AAAAAA=="


class Endpoint(NamedTuple):
    """A server, and how requests to it are addressed and signed."""

    origin: Origin
    host: str
    """The value of the Host header."""
    path: str
    """What precedes a key: nothing or the bucket, then a slash."""
    region: str
    service: str
    sends_checksums: bool = False
    checks_checksums: bool = False
    signs_bodies: bool = True


class Endpoints:
    """The endpoints of a session; each lookup takes milliseconds, so it is done in a thread."""

    def __init__(self, open_session: Callable[[], Session]) -> None:
        self._open_session = open_session
        self._clients: dict[tuple[str, str | None], Any] = {}
        self._contexts: dict[bool | str, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def of_bucket(self, bucket: str, region: str | None = None) -> Endpoint:
        """Return where a bucket is, for requests to the given region or the session's."""
        where = {"Bucket": bucket, "Key": _PROBE_KEY}
        with self._lock:
            client = self._client("s3", region)
            got = _captured(client, client.get_object, where)
            put = _captured(client, client.put_object, {**where, "Body": b""})
            checked = {**where, "Body": b"", "ChecksumCRC32": _EMPTY_CRC32}
            summed = _captured(client, client.put_object, checked)
        return self._endpoint(
            client,
            got,
            sends_checksums="x-amz-sdk-checksum-algorithm" in put.headers,
            checks_checksums="x-amz-checksum-mode" in got.headers,
            signs_bodies=_text(summed.headers["X-Amz-Content-SHA256"]) != "UNSIGNED-PAYLOAD",
        )

    def of_queues(self, url: str) -> Endpoint:
        """Return where requests for the queue with this URL go."""
        with self._lock:
            client = self._client("sqs", None)
            received = _captured(client, client.receive_message, {"QueueUrl": url})
        return self._endpoint(client, received)

    def context(self, origin: Origin, *, plain: bool = False) -> ssl.SSLContext | None:
        """Return the TLS settings for a server; None without TLS.

        `plain` says that no botocore setting names a CA bundle.
        """
        if not origin.tls and not (origin.proxy and origin.proxy.tls):
            return None
        named = None if plain else self._open_session().get_config_variable("ca_bundle")
        verify = named or os.environ.get("REQUESTS_CA_BUNDLE") or True
        with self._lock:
            if verify not in self._contexts:
                bundle = default_bundle() if verify is True else ""
                self._contexts[verify] = tls_context(verify, bundle)
            return self._contexts[verify]

    def _client(self, service: Any, region: str | None) -> Any:
        if (service, region) not in self._clients:
            client: Any = self._open_session().create_client(
                service,
                region_name=region,
                # Nothing is sent, so no real credentials are fetched.
                aws_access_key_id="none",
                aws_secret_access_key="none",  # noqa: S106
            )
            client.meta.events.register_last(f"before-send.{service}", _answer_nothing)
            self._clients[service, region] = client
        return self._clients[service, region]

    def _endpoint(self, client: Any, request: Any, **checks: bool) -> Endpoint:
        url = urlsplit(request.url)
        tls = url.scheme == "https"
        port = url.port or (443 if tls else 80)
        host = url.hostname or ""
        shown = f"[{host}]" if ":" in host else host
        region, service = _scope(request)
        return Endpoint(
            origin=Origin(host, port, tls, _proxy(client)),
            host=shown if port == (443 if tls else 80) else f"{shown}:{port}",
            path=url.path.removesuffix(_PROBE_KEY),
            region=region,
            service=service,
            **checks,
        )


def _proxy(client: Any) -> Proxy | None:
    from botocore.utils import get_environ_proxies  # noqa: PLC0415 - imports slowly

    url = client.meta.endpoint_url
    # botocore decides by the service's host name, not by the bucket's.
    found = (client.meta.config.proxies or get_environ_proxies(url)).get(urlsplit(url).scheme)
    return Proxy.parse(found) if found else None


class _NoBody:
    """Stands for the connection of a response that never came."""

    def stream(self, *_: object, **__: object) -> list[bytes]:
        return []

    def read(self, *_: object) -> bytes:
        return b""


def _captured(client: Any, operation: Callable[..., object], arguments: dict[str, Any]) -> Any:
    """Return the request that botocore would have sent."""
    seen: list[Any] = []

    def keep(request: Any, **_: object) -> None:
        seen.append(request)

    client.meta.events.register_first("before-send", keep)
    try:
        operation(**arguments)
    finally:
        client.meta.events.unregister("before-send", keep)
    return seen[0]


def _answer_nothing(request: Any, **_: object) -> Any:
    from botocore.awsrequest import AWSResponse  # noqa: PLC0415 - imports slowly

    headers: Any = {"content-length": "0", NOT_SENT: "true"}
    return AWSResponse(request.url, 200, headers, _NoBody())


def _scope(request: Any) -> tuple[str, str]:
    """Return the region and the service that botocore signed for."""
    signature = _text(request.headers["Authorization"])
    found = re.search(r"Credential=[^/]*/\d{8}/([^/]*)/([^/]*)/aws4_request", signature)
    if found is None:
        kind = signature.partition(" ")[0]
        raise UsageError("this kind of bucket cannot be used", f"it wants a signature of {kind}")
    return found[1], found[2]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


REGION_VARIABLES = ("PARALLELIZE_REGION", "AWS_REGION", "AWS_DEFAULT_REGION")
"""In order of precedence; boto3 itself does not read AWS_REGION."""


def region_from(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the region that the environment sets, and the variable that sets it."""
    for name in REGION_VARIABLES:
        if value := environ.get(name):
            return value, name
    return None
