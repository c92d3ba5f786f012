"""How many slots the workers' memory allows, in one line."""

from __future__ import annotations

from collections.abc import Sequence

from parallelize.units import show_size
from parallelize_core.heartbeat import Heartbeat, MemoryUse


def told_memory(beats: Sequence[Heartbeat]) -> str:
    """Say how many slots memory allows on the worker with the fewest; empty if all of them."""
    limited = [
        (use.slots / beat.slots, beat.slots, use)
        for beat in beats
        if (use := beat.memory) and _is_known(use) and use.slots < beat.slots
    ]
    if not limited:
        return ""
    _, slots, use = min(limited, key=lambda found: found[0])
    promised = f"{show_size(use.promised)} a file (run.memory_per_job)"
    learned = f"95 % of files need up to {show_size(use.expected)}"
    need = promised if use.promised else learned
    return f"{need}, so {show_size(use.total)} allow {use.slots} of {slots} slots"


def _is_known(use: MemoryUse) -> bool:
    return bool(use.promised or use.expected)
