"""boto3 clients: built in one place, with one rule for regions, timeouts and retries."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from parallelize_core.parts import PARTS_AT_ONCE
from parallelize_core.queue import AsyncQueue, Queue, SQSQueue
from parallelize_core.s3 import AsyncS3Store
from parallelize_core.sqs import AsyncSQSQueue
from parallelize_core.store import AsyncStore, S3Store, Store
from parallelize_core.transport.connector import Connector

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sqs import SQSClient

CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 60
"""Well above the 20 s of a long poll."""

MAX_ATTEMPTS = 8

FILE_THREADS = 4
"""Read, write and hash the files of an event loop's stores: as many as disks and cores bear."""

RARE_THREADS = 2
"""Make the rare calls of an event loop's stores."""

REGION_VARIABLES = ("PARALLELIZE_REGION", "AWS_REGION", "AWS_DEFAULT_REGION")
"""In the order in which they win; boto3 by itself does not look at AWS_REGION."""


def region_from(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the region that the environment asks for and the variable that said so."""
    for name in REGION_VARIABLES:
        if value := environ.get(name):
            return value, name
    return None


def make_session(region: str | None = None, profile: str | None = None) -> boto3.Session:
    """Return a session; the region is the one given, else the environment's, the profile's."""
    found = region_from(os.environ)
    return boto3.Session(profile_name=profile, region_name=region or (found[0] if found else None))


def client_config(
    connections: int = 10,
    read_timeout_seconds: float = READ_TIMEOUT_SECONDS,
    attempts: int = MAX_ATTEMPTS,
) -> Config:
    """Return what all clients have in common; `connections` is the size of the pool."""
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
    def make(cls, session: boto3.Session, connections: int = 10) -> Clients:
        """Build both with the given size of connection pool, that of parts apart."""
        return cls(
            session.client("s3", config=client_config(connections + PARTS_AT_ONCE)),
            session.client("sqs", config=client_config(connections)),
        )

    def store(self, bucket: str) -> Store:
        """Return a bucket."""
        return S3Store(self.s3, bucket, self.parts)

    def queue(self, url: str) -> Queue:
        """Return a queue."""
        return SQSQueue(self.sqs, url)


class AsyncClients:
    """Buckets and queues for an event loop; made and closed inside of it.

    The hot calls go over connections of its own, the rare ones through `session` in threads.
    Nothing is looked up or fetched before the first call.
    """

    def __init__(self, session: boto3.Session) -> None:
        self._connector = Connector(session, client_config())
        self._files = ThreadPoolExecutor(FILE_THREADS, "files")
        self._slow = ThreadPoolExecutor(RARE_THREADS, "rare")
        self._parts = asyncio.Semaphore(PARTS_AT_ONCE)
        self._session = session
        self._stores: dict[str, AsyncS3Store] = {}

    def store(self, bucket: str) -> AsyncStore:
        """Return a bucket."""
        if bucket not in self._stores:
            self._stores[bucket] = AsyncS3Store(
                bucket,
                lambda: self._connector.of_bucket(bucket),
                lambda: self._threaded.store(bucket),
                self._files,
                self._slow,
                self._parts,
            )
        return self._stores[bucket]

    def queue(self, url: str) -> AsyncQueue:
        """Return a queue."""
        return AsyncSQSQueue(url, lambda: self._connector.of_queue(url))

    async def aclose(self) -> None:
        """Wait for uploads that are being aborted, and close all connections."""
        for store in self._stores.values():
            await store.aclose()
        self._connector.close()
        for pool in (self._files, self._slow):
            pool.shutdown(wait=False, cancel_futures=True)

    @cached_property
    def _threaded(self) -> Clients:
        return Clients.make(self._session)
