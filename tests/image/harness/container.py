"""Lane A: the tree booted by systemd-nspawn, on this machine's kernel.

Everything above the kernel is real: systemd as process 1, units, users, DHCP, power-off. Limits of
memory are not: this kernel's memory controller may belong to cgroup v1.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from tests.image.harness import needs
from tests.image.harness.network import BRIDGE

STOP_SECONDS = 15
REBOOT_STATUS = 133
"""What systemd-nspawn exits with for a reboot when a unit is kept (see --keep-unit)."""

_numbers = itertools.count(1)

# A cgroup of its own first, then cgroup v2 where systemd looks for it, in this process alone.
_START = """
echo $$ >"$1/cgroup.procs"
mount -t cgroup2 none /sys/fs/cgroup
shift
exec "$@"
"""


class Container:
    """A booted container."""

    def __init__(
        self, tree: Path, folder: Path, words: tuple[str, ...], *, keep_changes: bool = False
    ) -> None:
        number = next(_numbers)
        self.console = folder / f"console-{number}.log"
        # The part of the disk that the agent uses outlives a reboot, as it would on a machine.
        state = folder / "state"
        state.mkdir(exist_ok=True)
        self._cgroup = _new_cgroup(number)
        command = [
            "unshare", "--mount", "sh", "-eu", "-c", _START, "sh", str(self._cgroup),
            "systemd-nspawn", "--quiet", f"--directory={tree}", "--boot", "--register=no",
            "--keep-unit", f"--volatile={'no' if keep_changes else 'overlay'}",
            f"--network-bridge={BRIDGE}",
            "--machine=worker", "--hostname=worker", "--console=read-only",
            f"--bind={state}:/var/lib/parallelize", "--setenv=SYSTEMD_COLORS=0",
            "--", "systemd.journald.forward_to_console=1", *words,
        ]  # fmt: skip
        with self.console.open("wb") as console:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                start_new_session=True,
            )  # fmt: skip

    def powered_off(self) -> bool:
        """Whether it ended by switching itself off: nspawn then exits with 0."""
        return self.process.returncode == 0

    def rebooted(self) -> bool:
        """Whether it ended in order to start again, which is left to the watcher of nspawn."""
        return self.process.wait(STOP_SECONDS) == REBOOT_STATUS

    def press_ctrl_alt_delete(self) -> None:
        """Ask for a reboot: process 1 gets SIGINT, as from a keyboard."""
        self._process_1().send_signal(signal.SIGINT)

    def press_power_button(self) -> None:
        """Ask for a power-off, as https://systemd.io/CONTAINER_INTERFACE/ says, and wait for it."""
        self._process_1().send_signal(signal.SIGRTMIN + 4)
        self.process.wait(STOP_SECONDS)

    def _process_1(self) -> psutil.Process:
        supervisor = psutil.Process(self.process.pid)
        (leader,) = (child for child in supervisor.children() if child.name() == "systemd")
        return leader

    def stop(self) -> None:
        """End it. SIGKILL alone would leave its systemd running, so its cgroup is killed too."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        (self._cgroup / "cgroup.kill").write_text("1", encoding="ascii")
        self.process.wait()
        _remove_cgroup(self._cgroup)


@contextmanager
def containers() -> Iterator[list[Container]]:
    """Collect containers, which are gone when the block ends."""
    started: list[Container] = []
    try:
        yield started
    finally:
        for container in started:
            container.stop()


def _new_cgroup(number: int) -> Path:
    root = needs.cgroup2()
    assert root is not None
    folder = root / f"parallelize-image-{os.getpid()}-{number}"
    folder.mkdir()
    return folder


def _remove_cgroup(folder: Path) -> None:
    for path in sorted(folder.rglob("*/"), reverse=True):
        path.rmdir()
    folder.rmdir()
