"""The most of this machine that was in use at once, for the report's hints on its size."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from parallelize_core.clock import boot_seconds
from parallelize_core.heartbeat import Peaks

CPU_WINDOW_SECONDS = 5.0
"""Any program keeps a processor busy for a moment; a machine is too small if that lasts."""

STALL_LOOK_SECONDS = 0.1
"""A loop that stalls for longer than this is certainly noticed; of shorter stalls, some are."""


@dataclass(frozen=True)
class Use:
    """Current use: CPU seconds since boot, busy and total; memory and disk in bytes."""

    cpu_busy: float
    cpu_total: float
    memory: int
    memory_total: int
    disk: int
    disk_total: int


def read_use(folder: Path) -> Use:
    """Ask the kernel; `folder` is on the disk that is meant."""
    times = psutil.cpu_times()
    # Linux counts a guest's time as user time, too.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(folder)
    return Use(
        cpu_busy=total - times.idle - getattr(times, "iowait", 0.0),
        cpu_total=total,
        memory=memory.total - memory.available,
        memory_total=memory.total,
        disk=disk.used,
        disk_total=disk.total,
    )


class PeakMeter:
    """Keeps the peaks of what `read` returns; call `look` every second."""

    def __init__(self, read: Callable[[], Use], clock: Callable[[], float] = boot_seconds) -> None:
        self._read = read
        self._clock = clock
        self._window = read()
        self._window_began = clock()
        self._cpu: float | None = None
        self._stall = 0.0
        self._memory = self._window.memory
        self._disk = self._window.disk

    def look(self) -> None:
        """Take the current use into account; failing to read it is no reason to leave."""
        with suppress(OSError):
            self._take(self._read())

    def _take(self, use: Use) -> None:
        self._memory = max(self._memory, use.memory)
        self._disk = max(self._disk, use.disk)
        if self._clock() - self._window_began >= CPU_WINDOW_SECONDS:
            self._cpu = max(self._cpu or 0.0, _cpu_share(self._window, use))
            self._window, self._window_began = use, self._clock()

    async def watch_stalls(self) -> None:
        """Measure for how long the event loop stalls, until cancelled."""
        while True:
            slept = self._clock()
            await asyncio.sleep(STALL_LOOK_SECONDS)
            self._stall = max(self._stall, self._clock() - slept - STALL_LOOK_SECONDS)

    @property
    def peaks(self) -> Peaks:
        """The peaks so far."""
        return Peaks(
            cpus=os.cpu_count() or 1,
            cpu=None if self._cpu is None else round(self._cpu, 3),
            memory_bytes=self._memory,
            memory_total_bytes=self._window.memory_total,
            disk_bytes=self._disk,
            disk_total_bytes=self._window.disk_total,
            stall_seconds=round(self._stall, 3),
        )


def _cpu_share(before: Use, after: Use) -> float:
    passed = after.cpu_total - before.cpu_total
    # The kernel's counters may step back a little, as idle time does on virtual machines.
    return min(1.0, max(0.0, (after.cpu_busy - before.cpu_busy) / passed)) if passed > 0 else 0.0
