"""Makes the clients of a session when they are first needed; what blocks is done in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from parallelize_core.charges import RequestCounts
from parallelize_core.errors import ParallelizeError, UsageError
from parallelize_core.transport.client import Client
from parallelize_core.transport.credentials import CredentialSource
from parallelize_core.transport.endpoints import Endpoint, Endpoints
from parallelize_core.transport.pool import Origin, Pool
from parallelize_core.transport.retries import RetryBudget
from parallelize_core.version import VERSION

if TYPE_CHECKING:
    from botocore.session import Session

THREADS = 4
"""For credentials and for where things are: seldom asked, and seldom at the same time."""

AGENT = f"parallelize/{VERSION}"


class Connector:
    """The clients of one session, its credentials and its connections."""

    def __init__(self, session: Session, counts: RequestCounts | None = None) -> None:
        self._counts = counts or RequestCounts()
        self._threads = ThreadPoolExecutor(THREADS, "aws")
        self._endpoints = Endpoints(session)
        self._credentials = CredentialSource(session, self._threads)
        self._pools: dict[Origin, Pool] = {}
        self._budgets = {"s3": RetryBudget(), "sqs": RetryBudget()}

    async def of_bucket(self, bucket: str) -> Client:
        """Return a client of a bucket."""

        async def relocate(region: str) -> tuple[Endpoint, Pool]:
            return await self._reached(lambda: self._endpoints.of_bucket(bucket, region))

        endpoint, pool = await self._reached(lambda: self._endpoints.of_bucket(bucket))
        return Client(
            endpoint, pool, self._credentials, self._budgets["s3"], AGENT, relocate,
            counts=self._counts,
        )  # fmt: skip

    async def of_queue(self, url: str) -> Client:
        """Return a client of a queue."""
        endpoint, pool = await self._reached(lambda: self._endpoints.of_queues(url))
        return Client(
            endpoint, pool, self._credentials, self._budgets["sqs"], AGENT, counts=self._counts
        )

    def close(self) -> None:
        """Close all connections."""
        self._credentials.close()
        for pool in self._pools.values():
            pool.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _reached(self, find: Callable[[], Endpoint]) -> tuple[Endpoint, Pool]:
        def look() -> tuple[Endpoint, Any]:
            endpoint = find()
            return endpoint, self._endpoints.context(endpoint.origin)

        loop = asyncio.get_running_loop()
        try:
            endpoint, context = await loop.run_in_executor(self._threads, look)
        except (ParallelizeError, MemoryError):
            raise
        except Exception as error:  # nothing was sent, so it is what was asked for, or a setting
            raise _unusable(error) from error
        if endpoint.origin not in self._pools:
            self._pools[endpoint.origin] = Pool(endpoint.origin, context)
        return endpoint, self._pools[endpoint.origin]


def _unusable(error: Exception) -> ParallelizeError:
    from parallelize_core.aws_errors import explain  # noqa: PLC0415 - botocore takes long to import

    known = explain(error)
    if isinstance(known, UsageError):
        return known
    return UsageError("AWS's own library cannot use this bucket or queue", str(error))
