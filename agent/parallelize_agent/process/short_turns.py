"""Processor time for the agent's own threads, beside many commands that compute.

A thread that asks for short time slices gets the next one sooner, and no more CPU time in all.
Otherwise, with a command in each of 64 slots of one processor, a lease would be renewed a tenth of
a second late, or more. Commands are started with time slices of the usual length.
https://docs.kernel.org/scheduler/sched-eevdf.html
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from contextlib import suppress
from pathlib import Path

TURN_NS = 100_000
"""The shortest that Linux gives: https://man7.org/linux/man-pages/man2/sched_setattr.2.html"""

_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""The numbers of a call that the C library supports only since 2.41."""

_RESET_ON_FORK = 1

_SESSIONS_SHARE = Path("/proc/self/autogroup")
"""https://man7.org/linux/man-pages/man7/sched.7.html, "The autogroup feature"."""

SESSION_NICE = -10
"""About ten times the share of a session with the usual 0, as `cgroup.AGENT_CPU_WEIGHT` gives."""

_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
"""Size, policy, flags, nice, priority, runtime, deadline, period: `struct sched_attr`."""


def take_short_turns() -> None:
    """Ask for short time slices for this thread; before Linux 6.12 that changes nothing.

    Threads and processes that it starts from now on have the usual ones.
    """
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None:
        return
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    wanted = _ATTRIBUTES.pack(_ATTRIBUTES.size, 0, _RESET_ON_FORK, nice, 0, TURN_NS, 0, 0)
    ctypes.CDLL(None).syscall(number, 0, wanted, 0)


def take_larger_share() -> None:
    """Give the agent's session ten times a command's share; leave a session that others began.

    If the kernel divides processors by session (autogroup), each command otherwise gets as large a
    share as the agent with all its threads. This takes CAP_SYS_NICE. It changes nothing in cgroups,
    which have shares of their own.
    """
    if os.getsid(0) == os.getpid():
        with suppress(OSError):
            _SESSIONS_SHARE.write_text(str(SESSION_NICE), encoding="ascii")
