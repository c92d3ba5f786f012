"""One local machine: a process that runs a command, and whose end kills everything that it started.

    python -m parallelize.local.machine PID_FILE COMMAND [ARGUMENT...]

Its standard input is its power cable, a pipe that the local cloud holds open. When the pipe closes,
because the plug is pulled or because the local cloud is gone (even by kill -9: the kernel closes
it), every process of the machine is killed. The machine adopts orphans, so a job in its own
session, or one whose parent has died, is found like any other.

SIGTERM is the power button: it is passed on to the command, which may take its time. When the
command has ended, whatever it left running is killed, as by a power-off.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread

import psutil

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def main(pid_file: str, *command: str) -> None:
    """Run `command` until it ends or the plug is pulled; write its process id to `pid_file`."""
    adopt_orphans()
    agent = Agent()
    # Before the command starts, so that the power button works from the first moment.
    signal.signal(signal.SIGTERM, lambda *_: agent.press_power_button())
    try:
        agent.start(command)
        Path(pid_file).write_text(str(agent.pid), encoding="ascii")
        Thread(target=kill_all_when_unplugged, daemon=True).start()
        agent.wait()
    finally:
        kill_descendants(psutil.Process())


class Agent:
    """The command that the machine runs; `pid` is 0 before it is started."""

    def __init__(self) -> None:
        self.pid = 0

    def start(self, command: tuple[str, ...]) -> None:
        """Start it in its own session, without the power cable."""
        no_input = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
        self.pid = os.posix_spawnp(
            command[0], command, os.environ, file_actions=[no_input], setsid=True
        )

    def press_power_button(self) -> None:
        """Pass SIGTERM on; a machine that is still starting just stops."""
        if not self.pid:
            sys.exit()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def wait(self) -> None:
        """Return when the command has ended; meanwhile reap the adopted orphans, too."""
        while os.waitpid(-1, 0)[0] != self.pid:
            pass


def adopt_orphans() -> None:
    """Become the parent of every descendant whose parent dies; only Linux supports this."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_all_when_unplugged() -> None:
    """Wait for the end of standard input, then kill everything, which ends `Agent.wait`, too."""
    while os.read(0, 1024):
        pass
    kill_descendants(psutil.Process())


def kill_descendants(process: psutil.Process) -> None:
    """Kill all descendants until none are left: one may fork during the search."""
    while living := [child for child in process.children(recursive=True) if is_alive(child)]:
        for child in living:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        # Not psutil.wait_procs: it would reap the command, for which `Agent.wait` is waiting.
        time.sleep(0.01)


def is_alive(process: psutil.Process) -> bool:
    """Whether a process is alive, and not a zombie."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    main(*sys.argv[1:])
