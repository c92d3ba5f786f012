"""Creates the clients of a session on first use; blocking work is done in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from parallelize_core.clients import RequestCounts
from parallelize_core.errors import ParallelizeError, UsageError
from parallelize_core.transport.client import Client
from parallelize_core.transport.credentials import CredentialSource
from parallelize_core.transport.endpoints import Endpoint, Endpoints
from parallelize_core.transport.plain import Plain
from parallelize_core.transport.pool import Origin, Pool
from parallelize_core.transport.retries import RetryBudget
from parallelize_core.version import VERSION

if TYPE_CHECKING:
    from botocore.session import Session

THREADS = 4
"""For looking up credentials and endpoints: both are rare, and rarely at the same time."""

AGENT = f"parallelize/{VERSION}"


class Connector:
    """The clients of one session, its credentials and its connections.

    What `plain` knows is not asked of the session, which is only opened when needed.
    """

    def __init__(
        self,
        open_session: Callable[[], Session],
        counts: RequestCounts | None = None,
        plain: Plain | None = None,
    ) -> None:
        self._counts = counts or RequestCounts()
        self._threads = ThreadPoolExecutor(THREADS, "aws")
        self._plain = plain
        self._endpoints = Endpoints(open_session)
        find_keys = plain.find_keys if plain else None
        self._credentials = CredentialSource(open_session, self._threads, find_keys)
        self._pools: dict[Origin, Pool] = {}
        self._budgets = {service: RetryBudget() for service in ("s3", "sqs", "sts")}

    async def of_bucket(self, bucket: str) -> Client:
        """Return a client for a bucket."""

        async def relocate(region: str) -> tuple[Endpoint, Pool]:
            return await self._reached(lambda: self._endpoints.of_bucket(bucket, region))

        endpoint, pool = await self._reached(lambda: self._of_bucket(bucket))
        return Client(
            endpoint, pool, self._credentials, self._budgets["s3"], AGENT, relocate,
            counts=self._counts,
        )  # fmt: skip

    async def of_queue(self, url: str) -> Client:
        """Return a client for a queue."""
        endpoint, pool = await self._reached(lambda: self._of_queues(url))
        return Client(
            endpoint, pool, self._credentials, self._budgets["sqs"], AGENT, counts=self._counts
        )

    async def of_identity(self, plain: Plain) -> Client:
        """Return a client for STS."""
        endpoint, pool = await self._reached(plain.of_identity)
        return Client(endpoint, pool, self._credentials, self._budgets["sts"], AGENT)

    def close(self) -> None:
        """Close all connections."""
        self._credentials.close()
        for pool in self._pools.values():
            pool.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _of_bucket(self, bucket: str) -> Endpoint:
        known = self._plain and self._plain.of_bucket(bucket)
        return known or self._endpoints.of_bucket(bucket)

    def _of_queues(self, url: str) -> Endpoint:
        return self._plain.of_queues() if self._plain else self._endpoints.of_queues(url)

    async def _reached(self, find: Callable[[], Endpoint]) -> tuple[Endpoint, Pool]:
        def look() -> tuple[Endpoint, Any]:
            endpoint = find()
            return endpoint, self._endpoints.context(endpoint.origin, plain=self._plain is not None)

        loop = asyncio.get_running_loop()
        try:
            endpoint, context = await loop.run_in_executor(self._threads, look)
        except (ParallelizeError, MemoryError):
            raise
        except Exception as error:  # nothing was sent: the arguments or a setting are wrong
            raise _unusable(error) from error
        if endpoint.origin not in self._pools:
            self._pools[endpoint.origin] = Pool(endpoint.origin, context)
        return endpoint, self._pools[endpoint.origin]


def _unusable(error: Exception) -> ParallelizeError:
    from parallelize_core.aws_errors import explain  # noqa: PLC0415 - botocore imports slowly

    known = explain(error)
    if isinstance(known, UsageError):
        return known
    return UsageError("AWS's own library cannot use this bucket or queue", str(error))
