"""An agent that crashes at once, and how often it was started."""

from __future__ import annotations

from pathlib import Path

CRASH = """
[Service]
ExecStart=
ExecStart=/bin/sh -c 'echo start >>/var/lib/parallelize/starts; echo broken >&2; exit 1'
RestartSec=100ms
"""
"""It counts in a file: the journal can lose the last lines of a machine that goes off."""


def starts(folder: Path) -> int:
    """Return how often the crashing agent of the container in `folder` was started."""
    return len((folder / "state/starts").read_text(encoding="ascii").splitlines())
