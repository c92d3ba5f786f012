"""The keys of this machine's role, from its metadata service, renewed as botocore does.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from parallelize_core.errors import ServiceError, UnavailableError

ReadMetadata = Callable[[str], str | None]
"""Returns the content of `latest/<path>`, None if there is none; raises ServiceError."""

ROLES = "meta-data/iam/security-credentials/"

EARLY_SECONDS = 15 * 60
"""This long before keys expire, new ones are requested."""

LATE_SECONDS = (EARLY_SECONDS + 2 * 60, EARLY_SECONDS + 10 * 60)
"""For how long, at least and at most, keys that should have been renewed remain in use.

AWS keeps accepting them while it cannot issue new ones, and not all machines may ask at once:
https://docs.aws.amazon.com/sdkref/latest/guide/feature-imds-credentials.html
"""


class Found(NamedTuple):
    """Keys at one moment, named as botocore's; empty if there are none. They never expire."""

    access_key: str = ""
    secret_key: str = ""
    token: str | None = None

    def get_frozen_credentials(self) -> Found:
        """Return the keys themselves."""
        return self


class RoleKeys:
    """Stands in for botocore's refreshable credentials of one role; safe for several threads."""

    def __init__(self, read: ReadMetadata, now: Callable[[], float] = time.time) -> None:
        self._read = read
        self._now = now
        self._lock = threading.Lock()
        self._found = Found()
        self._expires = 0.0

    def refresh_needed(self, refresh_in: float) -> bool:
        """Whether the keys expire within this many seconds."""
        return self._now() + refresh_in > self._expires

    def get_frozen_credentials(self) -> Found:
        """Return keys, new ones if the old expire soon and new ones can be had; blocks.

        Empty if this machine has no role. Raises UnavailableError.
        """
        with self._lock:
            if self.refresh_needed(EARLY_SECONDS):
                self._renew()
            return self._found

    def _renew(self) -> None:
        try:
            found = self._fetched()
        except ServiceError as error:
            if not self.refresh_needed(0):
                return
            what = "the keys of this machine's role cannot be fetched"
            raise UnavailableError(what, str(error), error.fix) from error
        self._found, expires = found
        if expires < self._now() + EARLY_SECONDS:
            expires = self._now() + random.uniform(*LATE_SECONDS)  # noqa: S311 - no secret
        self._expires = expires

    def _fetched(self) -> tuple[Found, float]:
        role = self._read(ROLES)
        if not role:
            return Found(), 0.0
        text = self._read(f"{ROLES}{role.splitlines()[0]}") or ""
        try:
            said = json.loads(text)
            found = Found(said["AccessKeyId"], said["SecretAccessKey"], said["Token"])
            return found, datetime.fromisoformat(said["Expiration"]).timestamp()
        except (ValueError, LookupError, TypeError) as error:
            # The service's own error code, without the keys that may accompany it.
            raise ServiceError("the metadata service gives no keys", repr(error)) from None
