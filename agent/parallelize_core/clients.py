"""boto3 clients: built in one place, with one rule for regions, timeouts and retries.

boto3 is imported when a session is made: it takes longer than everything else in a command's help.
"""

from __future__ import annotations

import os
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
