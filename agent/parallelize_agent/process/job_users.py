"""The users of jobs: each job has its own user number while the worker has it.

Each job sees itself as the second user, by name and number. Outside, the kernel sees a number
from a range that no account uses, so the jobs of one worker can do to each other what two
strangers can: nothing.
"""

from __future__ import annotations

import heapq
import os
import pwd
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from parallelize_core.errors import UsageError

JOB_USER_VARIABLE = "PARALLELIZE_JOB_USER"
"""Names the second user. The image's unit sets it; elsewhere jobs run as the agent's user."""

NUMBERS = range(70_000, 100_000)
"""Belong to nobody: accounts end at 60,000 and systemd's below 65,536, containers begin at
100,000. https://systemd.io/UIDS-GIDS/
"""


@dataclass(frozen=True)
class JobUser:
    """One job's user: `number` for the kernel outside, `uid` and `gid` inside."""

    number: int
    uid: int
    gid: int


class JobUsers:
    """Gives users to jobs, the lowest free number first; safe to use from any thread."""

    def __init__(self, uid: int, gid: int) -> None:
        self._uid = uid
        self._gid = gid
        self._free = list(NUMBERS)
        self._lock = threading.Lock()

    @classmethod
    def named(cls, name: str) -> JobUsers:
        """Make jobs see themselves as the user `name`; raise UsageError if there is none."""
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            raise UsageError(
                f'there is no user "{name}" on this machine',
                f"{JOB_USER_VARIABLE} names the user that jobs run as",
                f"make the user, or unset {JOB_USER_VARIABLE}",
            ) from None
        return cls(account.pw_uid, account.pw_gid)

    def take(self) -> JobUser:
        """Return an unused user."""
        with self._lock:
            return JobUser(heapq.heappop(self._free), self._uid, self._gid)

    def give_back(self, number: int) -> None:
        """Free a user of which nothing is left: no process and no file."""
        with self._lock:
            heapq.heappush(self._free, number)

    def reserve(self, number: int) -> bool:
        """Withhold a number because files of it are left; return whether it was free."""
        with self._lock:
            if number not in self._free:
                return False
            self._free.remove(number)
            heapq.heapify(self._free)
            return True


def job_users(environ: Mapping[str, str] = os.environ) -> JobUsers | None:
    """Return the users that this machine is set up for, or None."""
    name = environ.get(JOB_USER_VARIABLE)
    return JobUsers.named(name) if name else None
