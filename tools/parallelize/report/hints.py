"""Hints on machine size from the peak use of a run's machines: pure functions, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from parallelize.runs.state.gpu_use import together, told_gpus
from parallelize.runs.state.memory_use import told_memory
from parallelize.units import show_size
from parallelize_core.heartbeat import Heartbeat, Peaks

FEW, MUCH = 0.4, 0.9
"""Shares of a machine: below FEW a smaller one would do, above MUCH it is nearly full."""


def hints_on(beats: Sequence[Heartbeat]) -> Iterator[str]:
    """Yield hints on machines or settings that would do as well or better."""
    if told := told_memory(beats):
        yield f"Memory was the limit: {told}. Machines with more of it per processor use all slots."
    yield from _gpu_hints(beats)
    peaks = [beat.peaks for beat in beats if beat.peaks is not None]
    if not peaks:
        return
    yield from _cpu_hint(peaks)
    yield from _memory_hint(max(peaks, key=memory_share))
    yield from _disk_hint(max(peaks, key=disk_share))


def memory_share(peaks: Peaks) -> float:
    """Return the peak share of its memory that a machine used."""
    return peaks.memory_bytes / max(1, peaks.memory_total_bytes)


def disk_share(peaks: Peaks) -> float:
    """Return the peak share of its disk that a machine used."""
    return peaks.disk_bytes / max(1, peaks.disk_total_bytes)


def _gpu_hints(beats: Sequence[Heartbeat]) -> Iterator[str]:
    if not (told := told_gpus(beats)):
        return
    yield f"{told}."
    found = together([gpu for beat in beats for gpu in beat.gpus])
    if found and found.busy is not None and max(found.busy, found.memory_share) < FEW:
        yield "More jobs may fit on a GPU: try a higher run.gpu_share, or smaller GPUs."


def _cpu_hint(peaks: Sequence[Peaks]) -> Iterator[str]:
    known = [peak.cpu for peak in peaks if peak.cpu is not None]
    if known and max(known) < FEW:
        yield (
            f"No worker ever kept more than {max(known):.0%} of its processors busy. Ask for "
            'smaller machines (workers.types), or for more files at once (workers.slots = "2x").'
        )


def _memory_hint(most: Peaks) -> Iterator[str]:
    of = f"{show_size(most.memory_bytes)} of {show_size(most.memory_total_bytes)}"
    if (share := memory_share(most)) < FEW:
        yield (
            f"No worker ever needed more than {share:.0%} of its memory ({of}). Ask for machines "
            "with less memory per processor (c before m before r), or for smaller ones."
        )
    elif share > MUCH:
        yield (
            f"A worker's memory was {share:.0%} full ({of}). Fewer slots, or machines with more "
            "memory, keep jobs from being killed."
        )


def _disk_hint(most: Peaks) -> Iterator[str]:
    of = f"{show_size(most.disk_bytes)} of {show_size(most.disk_total_bytes)}"
    if (share := disk_share(most)) < FEW:
        yield (
            f"No worker ever needed more than {share:.0%} of its disk ({of}): "
            "a smaller workers.disk is enough."
        )
    elif share > MUCH:
        yield f"A worker's disk was {share:.0%} full ({of}): raise workers.disk."
