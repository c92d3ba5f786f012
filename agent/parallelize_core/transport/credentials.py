"""Credentials from botocore's chain, or without it; renewed ahead of time, off the event loop."""

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
"""How long the chain may take: a metadata service or a user's credential process may be slow."""

ADVISORY_SECONDS = 15 * 60
"""This long before they expire, credentials are renewed in the background, as botocore does."""

MANDATORY_SECONDS = 60
"""This long before they expire, nothing is signed with them: a request takes time to arrive."""


RENEWAL_PAUSE_SECONDS = 30.0
"""Between background renewals: a source may keep returning credentials that are about to expire."""


class CredentialSource:
    """Credentials from `find`, or else the session's chain, fetched in threads of `pool`."""

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
        """Return credentials that are valid now.

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
        """Return credentials that differ from the `refused`, expired ones, if there are any."""
        if self._keys is not None and self._keys != refused:
            return self._keys
        return await self._wait(self._fetch(again=True))

    def close(self) -> None:
        """Stop waiting for anything."""
        if self._fetching is not None:
            self._fetching.cancel()

    def _expires_within(self, seconds: int) -> bool:
        # botocore's credentials that never expire lack the method.
        needed = getattr(self._found, "refresh_needed", None)
        return bool(needed and needed(refresh_in=seconds))

    def _fetch(self, *, again: bool) -> asyncio.Task[Keys]:
        """Start to fetch credentials, or join a fetch that is under way."""
        if self._fetching is None or self._fetching.done():
            self._fetched_at = asyncio.get_running_loop().time()
            self._fetching = asyncio.create_task(self._fetched(again=again))
            # Waiting calls see the failure; the next call retries the background renewal.
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
            # The session caches what it has found, but its chain looks again.
            return session.get_component("credential_provider").load_credentials()
        return found

    async def _wait(self, fetching: asyncio.Task[Keys]) -> Keys:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                return await asyncio.shield(fetching)
        except (ParallelizeError, MemoryError):
            raise
        except Exception as error:  # anything that the chain's many sources raise
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
