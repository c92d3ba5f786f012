"""How much memory processes use, and whether the kernel has killed some for lack of it."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

PROC = Path("/proc")

LATELY_SECONDS = 5.0
"""A command whose end was seen this long after the kernel killed a process may be that one."""


def resident_bytes(pid: int) -> int:
    """Return the memory of a process and its descendants; those that end meanwhile count 0."""
    return sum(map(_resident, _family(pid)))


def _family(pid: int) -> Iterator[int]:
    """Yield a process and its descendants, from the kernel's own lists of children."""
    line = [pid]
    while line:
        parent = line.pop()
        yield parent
        with suppress(OSError):
            for thread in os.listdir(PROC / str(parent) / "task"):  # noqa: PTH208 - names only
                children = PROC / str(parent) / "task" / thread / "children"
                line += map(int, children.read_bytes().split())


def _resident(pid: int) -> int:
    try:
        return int((PROC / str(pid) / "statm").read_bytes().split()[1]) * _page_bytes()
    except (OSError, IndexError):
        return 0


@cache
def _page_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE")


class OomKills:
    """Tells whether the kernel has recently killed processes because the machine ran out of memory.

    Without a cgroup of its own, such a command looks as if somebody had killed it.
    Call `look` every second.
    """

    def __init__(self, counters: Path = PROC / "vmstat") -> None:
        self._counters = counters
        self._seen = deque([(time.monotonic(), self._count())])

    def look(self) -> None:
        """Record how many there have been until now."""
        now = time.monotonic()
        while len(self._seen) > 1 and self._seen[1][0] <= now - LATELY_SECONDS:
            self._seen.popleft()
        self._seen.append((now, self._count()))

    def lately(self) -> bool:
        """Whether there was one in the last seconds; safe to use from any thread."""
        return self._count() > self._seen[0][1]

    def _count(self) -> int:
        with suppress(OSError):
            for line in self._counters.read_bytes().splitlines():
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
        return 0
