"""Credentials of botocore's chain, or found without it, renewed ahead of time and off the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from parallelize_core.errors import AccessError, ParallelizeError, UnavailableError
from parallelize_core.transport.signing import Keys

if TYPE_CHECKING:
    from botocore.session import Session

FETCH_SECONDS = 30.0
"""For the chain to answer: a metadata service or a program of the user's may be slow."""

ADVISORY_SECONDS = 15 * 60
"""Before credentials expire they are renewed in passing, as botocore does."""

MANDATORY_SECONDS = 60
"""Before they expire nothing is signed with them any more: a request takes time to arrive."""


RENEWAL_PAUSE_SECONDS = 30.0
"""Between two renewals in passing: a source may go on giving what is about to expire."""


class CredentialSource:
    """What `find` finds, or else the session's chain; the threads of `pool` do the waiting."""

    def __init__(
        self,
        open_session: Callable[[], Session],
        pool: Executor,
        find: Callable[[], Any] | None = None,
    ) -> None:
        self._open_session = open_session
        self._pool = pool
        self._find = find
        self._found: Any = None
        self._keys: Keys | None = None
        self._fetching: asyncio.Task[Keys] | None = None
        self._fetched_at = 0.0

    async def keys(self) -> Keys:
        """Return credentials that can be used now.

        Raises AccessError if there are none, UnavailableError if they cannot be fetched.
        """
        keys = self._keys
        if keys is not None:
            if not self._expires_within(ADVISORY_SECONDS):
                return keys
            if not self._expires_within(MANDATORY_SECONDS):
                if asyncio.get_running_loop().time() > self._fetched_at + RENEWAL_PAUSE_SECONDS:
                    self._fetch(again=False)
                return keys
        return await self._wait(self._fetch(again=False))

    async def renewed(self, refused: Keys) -> Keys:
        """Return other credentials than those that were `refused` as expired, if there are any."""
        if self._keys is not None and self._keys != refused:
            return self._keys
        return await self._wait(self._fetch(again=True))

    def close(self) -> None:
        """Wait for nothing any more."""
        if self._fetching is not None:
            self._fetching.cancel()

    def _expires_within(self, seconds: int) -> bool:
        # botocore's own credentials that never expire do not have the method.
        needed = getattr(self._found, "refresh_needed", None)
        return bool(needed and needed(refresh_in=seconds))

    def _fetch(self, *, again: bool) -> asyncio.Task[Keys]:
        """Begin to fetch credentials, or join what has begun."""
        if self._fetching is None or self._fetching.done():
            self._fetched_at = asyncio.get_running_loop().time()
            self._fetching = asyncio.create_task(self._fetched(again=again))
            # A call that waits sees the failure; the next call tries a renewal in passing again.
            self._fetching.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._fetching

    async def _fetched(self, *, again: bool) -> Keys:
        loop = asyncio.get_running_loop()
        found, keys = await loop.run_in_executor(self._pool, self._load, again)
        self._found, self._keys = found, keys
        return keys

    def _load(self, again: bool) -> tuple[Any, Keys]:  # noqa: FBT001 - an executor's argument
        found = self._found
        if found is None or again:
            found = self._chain(again=again)
        if found is None:
            raise _none_found()
        frozen = found.get_frozen_credentials()
        if not frozen.access_key or not frozen.secret_key:
            raise _none_found()
        return found, Keys(frozen.access_key, frozen.secret_key, frozen.token or None)

    def _chain(self, *, again: bool) -> Any:
        if self._find is not None:
            return self._find()
        session = self._open_session()
        found = session.get_credentials()
        if again and found is not None and found.method != "explicit":
            # The session keeps what it has found; its chain looks again.
            return session.get_component("credential_provider").load_credentials()
        return found

    async def _wait(self, fetching: asyncio.Task[Keys]) -> Keys:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                return await asyncio.shield(fetching)
        except (ParallelizeError, MemoryError):
            raise
        except Exception as error:  # whatever the chain's many sources raise
            raise UnavailableError(
                "the AWS credentials could not be fetched",
                str(error) or f"no answer within {FETCH_SECONDS:g} s",
                "check credential_process, aws sso login, or the machine's role",
            ) from error


def _none_found() -> AccessError:
    return AccessError(
        "no AWS credentials found",
        "looked in: environment, ~/.aws, SSO, container, EC2",
        "aws configure sso   then   export AWS_PROFILE=NAME\n"
        "  no AWS account? try: parallelize run --local",
    )
