"""boto3 clients, with one rule for regions, timeouts and retries, and counts of all requests sent.

boto3 is imported when a session is made: it takes longer than everything else in a command's help.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from parallelize_core.parts import PARTS_AT_ONCE
from parallelize_core.queue import Queue
from parallelize_core.store import Store
from parallelize_core.translated import translated
from parallelize_core.transport.endpoints import region_from

if TYPE_CHECKING:
    from boto3 import Session as Session  # noqa: PLC0414 - others name it, too
    from botocore.config import Config
    from types_boto3_s3 import S3Client
    from types_boto3_sqs import SQSClient

CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 60
"""Well above the 20 s of a long poll."""

MAX_ATTEMPTS = 8

SQS_CHUNK_BYTES = 64 * 1024
"""Each started chunk of a payload is charged as a request: https://aws.amazon.com/sqs/pricing/"""


@translated("AWS")
def make_session(region: str | None = None, profile: str | None = None) -> Session:
    """Return a session; the region is the given one, else the environment's, else the profile's.

    Raises UsageError for a profile that does not exist, like everything here for a wrong setting.
    """
    from boto3 import Session  # noqa: PLC0415 - see above

    found = region_from(os.environ)
    return Session(profile_name=profile, region_name=region or (found[0] if found else None))


def session_with_key(key_id: str, secret: str, region: str) -> Session:
    """Return a session that uses one key and no other."""
    from boto3 import Session  # noqa: PLC0415 - see above

    return Session(key_id, secret, region_name=region)


def client_config(
    connections: int = 10,
    read_timeout_seconds: float = READ_TIMEOUT_SECONDS,
    attempts: int = MAX_ATTEMPTS,
) -> Config:
    """Return the configuration of all clients; `connections` is the size of the pool."""
    from botocore.config import Config  # noqa: PLC0415 - see above

    return Config(
        connect_timeout=min(CONNECT_TIMEOUT_SECONDS, read_timeout_seconds),
        read_timeout=read_timeout_seconds,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=connections,
        user_agent_extra="parallelize",
    )


@dataclass(frozen=True)
class Clients:
    """The two clients that the work itself needs; safe to share between threads."""

    s3: S3Client
    sqs: SQSClient
    parts: Executor = field(default_factory=lambda: ThreadPoolExecutor(PARTS_AT_ONCE, "parts"))
    """Transfers the parts of large objects, for all stores together."""

    @classmethod
    @translated("AWS")
    def make(cls, session: Session, connections: int = 10) -> Clients:
        """Build both with the given size of connection pool, not counting that of parts."""
        return cls(
            session.client("s3", config=client_config(connections + PARTS_AT_ONCE)),
            session.client("sqs", config=client_config(connections)),
        )

    def store(self, bucket: str) -> Store:
        """Return a bucket."""
        from parallelize_core.boto_store import S3Store  # noqa: PLC0415 - see above

        return S3Store(self.s3, bucket, self.parts)

    def queue(self, url: str) -> Queue:
        """Return a queue."""
        from parallelize_core.boto_queue import SQSQueue  # noqa: PLC0415 - see above

        return SQSQueue(self.sqs, url)


@dataclass(eq=False)
class RequestCounts:
    """The requests that a process has sent to AWS, every attempt, by their price."""

    s3_writes: int = 0
    s3_reads: int = 0
    sqs: int = 0
    metrics: int = 0
    log_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, service: str, method: str, query: str, size: int) -> None:
        """Count a request to a service, as botocore calls it, with a body of `size` bytes."""
        with self._lock:
            if service == "s3":
                self._count_s3(method, query)
            elif service == "sqs":
                self.sqs += 1 + size // SQS_CHUNK_BYTES
            elif service == "cloudwatch":
                self.metrics += 1
            elif service == "cloudwatch-logs":
                self.log_bytes += size

    def _count_s3(self, method: str, query: str) -> None:
        """https://aws.amazon.com/s3/pricing/: deletions are free, listings cost as much as PUT."""
        if method == "DELETE" or query.startswith("delete"):
            return
        if method in {"GET", "HEAD"} and "list-type=" not in query:
            self.s3_reads += 1
        else:
            self.s3_writes += 1

    def watch(self, client: Any) -> None:
        """Count what a client of boto3 or botocore sends from now on."""
        client.meta.events.register("before-send", self._before_send)

    def _before_send(self, request: Any, event_name: str, **_: object) -> None:
        service = event_name.split(".")[1]
        body = request.body
        size = len(body) if service != "s3" and isinstance(body, bytes | str) else 0
        self.count(service, request.method, urlsplit(request.url).query, size)
