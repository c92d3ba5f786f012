"""What the GPUs of a run's workers did, in one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parallelize.units import plural, show_size
from parallelize_core.heartbeat import GpuUse, Heartbeat


@dataclass(frozen=True)
class Together:
    """Several GPUs as one: the fullest one's memory in bytes, and the average load of all."""

    count: int
    memory_bytes: int
    memory_total_bytes: int
    busy: float | None

    @property
    def memory_share(self) -> float:
        """The share of its memory that the fullest one needed."""
        return self.memory_bytes / max(1, self.memory_total_bytes)


def together(gpus: Sequence[GpuUse]) -> Together | None:
    """Combine GPUs; None if there are none."""
    if not gpus:
        return None
    fullest = max(gpus, key=lambda gpu: gpu.memory_bytes / max(1, gpu.memory_total_bytes))
    busy = [gpu.busy for gpu in gpus if gpu.busy is not None]
    average = sum(busy) / len(busy) if busy else None
    return Together(len(gpus), fullest.memory_bytes, fullest.memory_total_bytes, average)


def told_gpus(beats: Sequence[Heartbeat]) -> str:
    """Say how much of their GPUs a run's workers used; empty if they had none."""
    found = together([gpu for beat in beats for gpu in beat.gpus])
    if found is None:
        return ""
    busy = "" if found.busy is None else f", busy {found.busy:.0%} of the time"
    used, total = show_size(found.memory_bytes), show_size(found.memory_total_bytes)
    return f"{plural(found.count, 'GPU')}{busy}; at most {used} of {total} in use on one"
