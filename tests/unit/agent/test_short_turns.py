"""The agent's threads come to their turn soon among many commands, which have the usual turns."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from parallelize_agent.process import tree
from parallelize_agent.process.read_only import apart
from parallelize_agent.process.short_turns import (
    _ATTRIBUTES,
    SESSION_NICE,
    TURN_NS,
    take_short_turns,
)

CAP_SYS_NICE = 23

SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}.get(platform.machine())

TELL = f"""
import ctypes, struct
room = ctypes.create_string_buffer(56)
ctypes.CDLL(None).syscall({SCHED_GETATTR}, 0, room, 56, 0)
print(*struct.unpack_from("=IIQiIQ", room.raw))
"""


def scheduling(pid: int = 0) -> tuple[int, ...]:
    """Return size, policy, flags, nice, priority and turn of a thread, this one by default."""
    room = ctypes.create_string_buffer(56)
    assert ctypes.CDLL(None).syscall(SCHED_GETATTR, pid, room, 56, 0) == 0
    return _ATTRIBUTES.unpack_from(room.raw)[:6]


def in_thread(work: Callable[[], None]) -> None:
    """Do something in a thread that goes: what it asks for stays with it."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = Thread(target=run)
    thread.start()
    thread.join()
    for error in failed:
        raise error


@pytest.fixture(autouse=True)
def _known() -> None:
    if SCHED_GETATTR is None:
        pytest.skip("the number of the call is not known here")

    def look() -> None:
        take_short_turns()
        if scheduling()[5] != TURN_NS:
            pytest.skip("this kernel gives no short turns")

    in_thread(look)


def test_a_thread_has_short_turns_and_stays_what_it_was_else() -> None:
    def look() -> None:
        os.setpriority(os.PRIO_PROCESS, 0, 7)
        before = scheduling()
        take_short_turns()
        after = scheduling()
        assert after[5] == TURN_NS
        assert (after[1], after[3], after[4]) == (before[1], before[3], before[4])
        assert after[3] == 7

    in_thread(look)


def test_what_it_starts_has_turns_of_the_usual_length() -> None:
    usual = scheduling()[5]

    def look() -> None:
        take_short_turns()
        in_thread(lambda: told.append(scheduling()[5]))
        with apart(), tree.spawn((sys.executable, "-c", TELL), Path.cwd(), {}) as child:
            child.wait()
            told.append(int(os.read(child.stdout, 100).split()[5]))
            child.reap()

    told: list[int] = []
    in_thread(look)
    assert told == [usual, usual]


SHARES = """
import os, subprocess, sys
from pathlib import Path
from parallelize_agent.process.short_turns import take_larger_share
tell = "print(open('/proc/self/autogroup').read().rpartition(' ')[2].strip(), flush=True)"
take_larger_share()
exec(tell)
subprocess.run([sys.executable, "-c", tell], start_new_session=True, check=True)
"""
"""Prints the share of the agent's session, and that of a command's session."""


def shares(*, own_session: bool) -> list[str]:
    words = (sys.executable, "-c", SHARES)
    return subprocess.run(
        words, start_new_session=own_session, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def session_share() -> str:
    """Return the share of this session: empty where the kernel does not divide by session."""
    share = Path("/proc/self/autogroup")
    return share.read_text(encoding="ascii").rpartition(" ")[2].strip() if share.exists() else ""


def may_change_shares() -> bool:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return bool(int(status.partition("CapEff:")[2].split()[0], 16) >> CAP_SYS_NICE & 1)


@pytest.mark.skipif(
    not session_share() or not may_change_shares(),
    reason="the kernel does not divide processors by session, or we may not change shares",
)
def test_the_agents_session_has_a_larger_share_than_those_of_commands() -> None:
    assert shares(own_session=True) == [str(SESSION_NICE), "0"]


@pytest.mark.skipif(not session_share(), reason="the kernel does not divide processors by session")
def test_the_share_of_a_session_that_others_began_does_not_change() -> None:
    assert shares(own_session=False) == [session_share(), "0"]
