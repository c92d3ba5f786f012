"""Buckets and queues for an event loop; importing it does not import boto3, which takes long."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from parallelize_core.bucket_terms import NO_TERMS, Terms
from parallelize_core.charges import RequestCounts
from parallelize_core.parts import PARTS_AT_ONCE
from parallelize_core.queue import AsyncQueue
from parallelize_core.regions import region_from
from parallelize_core.s3 import AsyncS3Store
from parallelize_core.sqs import AsyncSQSQueue
from parallelize_core.store import Store
from parallelize_core.transport.connector import Connector

if TYPE_CHECKING:
    import boto3
    import botocore.session

FILE_THREADS = 4
"""Read, write and hash the files of all stores: as many as disks and cores bear."""

RARE_THREADS = 2
"""Make the rare calls of all stores."""


class AsyncClients:
    """Makes stores and queues; is made, used and closed in a running loop.

    The hot calls go over connections of its own, the rare ones through botocore in threads. Nothing
    is looked up or fetched before the first call. `session` may be boto3's, or botocore's own,
    which takes half as long to import.
    """

    def __init__(
        self,
        session: boto3.Session | botocore.session.Session,
        parts_at_once: int = PARTS_AT_ONCE,
        counts: RequestCounts | None = None,
        terms: Terms = NO_TERMS,
    ) -> None:
        # boto3's session is made of botocore's.
        self._session: Any = getattr(session, "_session", session)
        self._counts = counts or RequestCounts()
        self._connector = Connector(self._session, self._counts)
        self._terms = terms
        self._files = ThreadPoolExecutor(FILE_THREADS, "files")
        self._rare = ThreadPoolExecutor(RARE_THREADS, "rare")
        self._parts = asyncio.Semaphore(parts_at_once)
        self._stores: dict[str, AsyncS3Store] = {}

    @classmethod
    def of_region(
        cls, region: str | None, counts: RequestCounts | None = None, terms: Terms = NO_TERMS
    ) -> Self:
        """Make them for a region, or for the one that the environment or the profile names.

        All that they send is counted in `counts`.
        """
        import botocore.session  # noqa: PLC0415 - boto3's takes twice as long to import

        session = botocore.session.Session()
        found = region_from(os.environ)
        if wanted := region or (found[0] if found else None):
            session.set_config_variable("region", wanted)
        terms.install(session.get_component("event_emitter"))
        return cls(session, counts=counts, terms=terms)

    def store(self, bucket: str) -> AsyncS3Store:
        """Return a bucket."""
        if bucket not in self._stores:
            self._stores[bucket] = AsyncS3Store(
                bucket,
                lambda: self._connector.of_bucket(bucket),
                lambda: self.rare_store(bucket),
                self._files,
                self._rare,
                self._parts,
                self._terms,
            )
        return self._stores[bucket]

    def queue(self, url: str) -> AsyncQueue:
        """Return a queue."""
        return AsyncSQSQueue(url, lambda: self._connector.of_queue(url))

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

    def rare_store(self, bucket: str) -> Store:
        """Return a bucket for calls that may block, and are rare."""
        from parallelize_core.boto_store import S3Store  # noqa: PLC0415 - it imports botocore

        return S3Store(self._s3, bucket, self._files)

    @cached_property
    def _s3(self) -> Any:
        from parallelize_core.clients import client_config  # noqa: PLC0415 - it imports boto3

        client = self._session.create_client("s3", config=client_config(RARE_THREADS))
        self._counts.watch(client)
        return client
