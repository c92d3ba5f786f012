"""Who the jobs are: each has a number of its own while it is in hand, and nobody else has it.

To itself every job is the second user, by name and number. To the kernel outside it is a number
from a range that no account has, so what jobs of one worker may do to each other is what two
strangers may: nothing.
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
"""Belongs to nobody: accounts end at 60,000 and systemd's below 65,536, containers begin at
100,000. https://systemd.io/UIDS-GIDS/
"""


@dataclass(frozen=True)
class JobUser:
    """One job's user: `number` for the kernel outside, `uid` and `gid` to itself."""

    number: int
    uid: int
    gid: int


class JobUsers:
    """Hands out users to jobs, the lowest free number first; safe to use from any thread."""

    def __init__(self, uid: int, gid: int) -> None:
        self._uid = uid
        self._gid = gid
        self._free = list(NUMBERS)
        self._lock = threading.Lock()

    @classmethod
    def named(cls, name: str) -> JobUsers:
        """Let jobs take themselves for the user `name`; raise UsageError if there is none."""
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
        """Return a user that nobody has."""
        with self._lock:
            return JobUser(heapq.heappop(self._free), self._uid, self._gid)

    def give_back(self, number: int) -> None:
        """Say that nothing of the user is left: no process and no file."""
        with self._lock:
            heapq.heappush(self._free, number)

    def reserve(self, number: int) -> bool:
        """Hand a number out no more, as files of it are left; answer whether it was free."""
        with self._lock:
            if number not in self._free:
                return False
            self._free.remove(number)
            heapq.heapify(self._free)
            return True


def job_users(environ: Mapping[str, str] = os.environ) -> JobUsers | None:
    """Return the users that this machine is set up for, if it is."""
    name = environ.get(JOB_USER_VARIABLE)
    return JobUsers.named(name) if name else None
