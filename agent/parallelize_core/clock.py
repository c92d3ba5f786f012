"""The two clocks: one for leases, one for records."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def boot_seconds() -> float:
    """Return seconds since boot, with the time that the machine was suspended.

    A lease runs out while a machine sleeps, and `time.monotonic` does not count that time.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def utc_now() -> str:
    """Return the time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
