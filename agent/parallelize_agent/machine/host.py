"""This machine's cores, memory and disk."""

from __future__ import annotations

import math
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from parallelize_core.errors import UsageError

_SHARE = re.compile(r"(\d+(?:\.\d+)?)x")


def logical_cpus() -> int:
    """Return how many logical CPUs this process may use."""
    return len(psutil.Process().cpu_affinity() or ()) or psutil.cpu_count() or 1


def slot_count(setting: int | str, cpus: int) -> int:
    """Return how many jobs may run at once on these CPUs.

    `setting` is a number, 0 for one per CPU, or a share of the CPUs such as "2x" or "0.5x".
    Raises UsageError for anything else.
    """
    text = str(setting)
    if text.isdecimal():
        return int(text) or cpus
    if share := _SHARE.fullmatch(text):
        return max(1, math.floor(float(share[1]) * cpus))
    raise UsageError(
        f'"{text}" is not a number of slots',
        fix='give a number, 0 for every CPU, or a share like "2x"',
    )


def memory_bytes(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Return how much memory this process and its commands may use; a container may limit it."""
    least = int(psutil.virtual_memory().total)
    with suppress(OSError):
        for line in own.read_text(encoding="ascii").splitlines():
            if line.startswith("0::/"):
                found = _memory_limits(root, root / line.removeprefix("0::/"))
                least = int(min(least, *found))
    return least


def _memory_limits(root: Path, folder: Path) -> Iterator[float]:
    """Yield the limits of a cgroup and of its parents."""
    yield math.inf
    for level in (folder, *folder.parents):
        if not level.is_relative_to(root):
            return
        with suppress(OSError, ValueError):  # "max" is not a limit
            yield int((level / "memory.max").read_text(encoding="ascii"))


class AvailableMemory:
    """The machine's free memory, read at most a few times a second."""

    LOOK_SECONDS = 0.25

    def __init__(self) -> None:
        self._bytes = 0
        self._until = 0.0

    def __call__(self) -> int:
        """Return it in bytes; memory that the kernel can reclaim counts as free."""
        now = time.monotonic()
        if now >= self._until:
            self._bytes = int(psutil.virtual_memory().available)
            self._until = now + self.LOOK_SECONDS
        return self._bytes


def free_bytes(folder: Path) -> int:
    """Return how many bytes can still be written below `folder`."""
    return shutil.disk_usage(folder).free


def boot_id() -> str:
    """Return the id of this boot of the kernel."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def machine_name() -> str:
    """Return a worker id for a machine that has no instance id."""
    return f"{os.uname().nodename.partition('.')[0]}-{os.getpid()}"
