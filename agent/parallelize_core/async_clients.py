"""Buckets and queues for an event loop; importing this does not import botocore, which is slow."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

from parallelize_core.bucket_terms import NO_TERMS, Terms
from parallelize_core.clients import RequestCounts
from parallelize_core.errors import UnavailableError
from parallelize_core.parts import PARTS_AT_ONCE
from parallelize_core.queue import AsyncQueue
from parallelize_core.s3 import AsyncS3Store
from parallelize_core.sqs import AsyncSQSQueue, ask
from parallelize_core.store import Store
from parallelize_core.thread_store import ThreadStore
from parallelize_core.transport.answers import field_of
from parallelize_core.transport.client import Request
from parallelize_core.transport.connector import Connector
from parallelize_core.transport.endpoints import region_from
from parallelize_core.transport.objects import QUICK
from parallelize_core.transport.plain import Plain
from parallelize_core.transport.role_keys import ReadMetadata

if TYPE_CHECKING:
    import boto3
    import botocore.session

FILE_THREADS = 4
"""Threads that read, write and hash the files of all stores, as many as disks and cores can use."""

RARE_THREADS = 2
"""Threads that make the rare calls of all stores."""


class AsyncClients:
    """Makes stores and queues. Create, use and close it in a running loop.

    Frequent calls use its own connections, rare ones go through botocore in threads. It looks up
    and fetches nothing before the first call, and opens no session that nothing needs.
    """

    def __init__(
        self,
        open_session: Callable[[], botocore.session.Session],
        parts_at_once: int = PARTS_AT_ONCE,
        counts: RequestCounts | None = None,
        terms: Terms = NO_TERMS,
        plain: Plain | None = None,
    ) -> None:
        self._open_session = open_session
        self._counts = counts or RequestCounts()
        self._connector = Connector(open_session, self._counts, plain)
        self._terms = terms
        self._loop = asyncio.get_running_loop()
        self._files = ThreadPoolExecutor(FILE_THREADS, "files")
        self._rare = ThreadPoolExecutor(RARE_THREADS, "rare")
        self._parts = asyncio.Semaphore(parts_at_once)
        self._stores: dict[str, AsyncS3Store] = {}

    @classmethod
    def of_session(
        cls,
        session: boto3.Session | botocore.session.Session,
        parts_at_once: int = PARTS_AT_ONCE,
        counts: RequestCounts | None = None,
        terms: Terms = NO_TERMS,
    ) -> Self:
        """Make them for a session, boto3's or botocore's own."""
        # boto3's session is made of botocore's.
        own: Any = getattr(session, "_session", session)
        return cls(lambda: own, parts_at_once, counts, terms)

    @classmethod
    def of_region(
        cls,
        region: str | None,
        counts: RequestCounts | None = None,
        terms: Terms = NO_TERMS,
        metadata: ReadMetadata | None = None,
    ) -> Self:
        """Make them for a region, or for the one that the environment or the profile names.

        `counts` counts everything that they send. `metadata` reads from the metadata service of
        this machine, if there is one. botocore is imported only if something needs it: see
        `parallelize_core.transport.plain`.
        """
        found = region_from(os.environ)
        wanted = region or (found[0] if found else None)
        opened = _Opened(wanted, terms)
        plain = Plain.of(os.environ, wanted, metadata) if wanted else None
        return cls(opened.session, counts=counts, terms=terms, plain=plain)

    def store(self, bucket: str) -> AsyncS3Store:
        """Return a bucket."""
        if bucket not in self._stores:
            made = AsyncS3Store(
                bucket,
                lambda: self._connector.of_bucket(bucket),
                lambda: self.boto_store(bucket),
                self._files,
                self._rare,
                self._parts,
                self._terms,
            )
            # Threads call this, too, and all of them have to get the same one.
            self._stores.setdefault(bucket, made)
        return self._stores[bucket]

    def queue(self, url: str) -> AsyncQueue:
        """Return a queue."""
        return AsyncSQSQueue(url, lambda: self._connector.of_queue(url))

    async def ask_sqs(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Make a rare call of SQS; raises the error tree. Its answer has AWS's own names."""
        client = await self._connector.of_queue(str(parameters.get("QueueUrl", "")))
        return await ask(client, action, parameters)

    async def caller(self, plain: Plain) -> tuple[str, str]:
        """Return the number of the AWS account and the ARN of who calls; raises the error tree.

        https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
        """
        client = await self._connector.of_identity(plain)
        body = b"Action=GetCallerIdentity&Version=2011-06-15"
        form = ("content-type", "application/x-www-form-urlencoded; charset=utf-8")
        digest = hashlib.sha256(body).hexdigest()
        reply = await client.call(
            Request("POST", "", "AWS", QUICK, headers=[form], body=body, digest=digest)
        )
        account, arn = (field_of(reply.body, name) for name in ("Account", "Arn"))
        if not account:
            raise UnavailableError("an answer of STS is incomplete", "it names no account")
        return account, arn

    async def aclose(self) -> None:
        """Wait for uploads that are being aborted, and close all connections."""
        await self.settled()
        self.abort()

    async def settled(self) -> None:
        """Wait for uploads that are being aborted."""
        for store in self._stores.values():
            await store.aclose()

    def abort(self) -> None:
        """Close all connections at once."""
        self._connector.close()
        for pool in (self._files, self._rare):
            pool.shutdown(wait=False, cancel_futures=True)

    def thread_store(self, bucket: str) -> Store:
        """Return a bucket for other threads, over the same connections."""
        return ThreadStore(self.store(bucket), self._loop, lambda: self.boto_store(bucket))

    def boto_store(self, bucket: str) -> Store:
        """Return a bucket for rare calls, which may block."""
        from parallelize_core.boto_store import S3Store  # noqa: PLC0415 - it imports botocore

        return S3Store(self._s3, bucket, self._files)

    @cached_property
    def _s3(self) -> Any:
        from parallelize_core.clients import client_config  # noqa: PLC0415 - it imports boto3

        client: Any = self._open_session().create_client("s3", config=client_config(RARE_THREADS))
        self._counts.watch(client)
        return client


class _Opened:
    """A botocore session that is made at its first use, in any thread."""

    def __init__(self, region: str | None, terms: Terms) -> None:
        self._region = region
        self._terms = terms
        self._lock = Lock()
        self._made: botocore.session.Session | None = None

    def session(self) -> botocore.session.Session:
        """Return the session."""
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _make(self) -> botocore.session.Session:
        import botocore.session  # noqa: PLC0415 - it takes longer than the first receive

        session = botocore.session.Session()
        if self._region:
            session.set_config_variable("region", self._region)
        self._terms.install(session.get_component("event_emitter"))
        return session
