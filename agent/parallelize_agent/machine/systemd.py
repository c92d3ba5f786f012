"""What the agent tells systemd: that it is ready, is alive, and when the machine may power off.

Each function does nothing without systemd, so the agent calls them everywhere.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

KEEP_ALIVE = "keep-alive"
"""While this file exists, the machine stays on when the agent ends."""

DEADLINE = "deadline"
"""Holds the uptime, in seconds, at which the machine powers off whatever the agent does."""


def notify(state: str) -> None:
    """Send `state`, for example "READY=1", to the service manager.

    https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
    """
    if address := os.environ.get("NOTIFY_SOCKET"):
        # An "@" stands for the zero byte that begins an abstract address.
        name = f"\0{address[1:]}" if address.startswith("@") else address
        # A manager that is being replaced must not take the agent down with it.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(state.encode(), name)


def ready(status: str) -> None:
    """Report that start-up is over; `status` is one line for `systemctl status`."""
    notify(f"READY=1\nSTATUS={status}")


def watchdog(status: str) -> None:
    """Report that the agent still works. Without this, systemd kills and restarts it."""
    notify(f"WATCHDOG=1\nSTATUS={status}")


def stopping(status: str) -> None:
    """Report that the agent is leaving, and why."""
    notify(f"STOPPING=1\nSTATUS={status}")


def write_power_off_policy(
    *, shutdown: bool, max_runtime_seconds: float | None, environ: Mapping[str, str] = os.environ
) -> None:
    """Write the policy for the root units that power off the machine, which read nothing else.

    Without `shutdown` the machine outlives its agent; with `max_runtime_seconds` it powers off that
    long after this call, even if the agent can no longer do it.
    """
    if not (folder := environ.get("RUNTIME_DIRECTORY")):
        return
    _set(Path(folder, KEEP_ALIVE), None if shutdown else "")
    end = None if max_runtime_seconds is None else f"{_uptime() + max_runtime_seconds:.0f}\n"
    _set(Path(folder, DEADLINE), end)


def _set(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink(missing_ok=True)
    else:
        path.write_text(text, encoding="ascii")


def _uptime() -> float:
    return float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
