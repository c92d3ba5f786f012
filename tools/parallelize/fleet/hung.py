"""Machines that AWS calls running but that have been silent for too long.

A worker whose agent hangs is repaired or switched off by its own machine (systemd's watchdog, its
deadline). What is left are machines that hang as a whole, and those are billed like the others.
"""

from __future__ import annotations

from collections.abc import Iterable

from parallelize.fleet.instances import BILLED, Machine
from parallelize_core.heartbeat import Heartbeat, WorkerState

HUNG_SECONDS = 30 * 60
"""A silence that clock skew cannot explain: AWS refuses clocks off by over 15 minutes.

https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html (RequestTimeTooSkewed)
"""

_ENDED = {WorkerState.LEFT, WorkerState.FAILED}


def hung(
    machines: Iterable[Machine], heartbeats: Iterable[Heartbeat], now: float
) -> tuple[Machine, ...]:
    """Return the machines that are billed and were last heard of `HUNG_SECONDS` before `now`.

    One that has said that it leaves, and is kept on purpose, is not among them.
    """
    known = {beat.worker: beat for beat in heartbeats}
    return tuple(
        machine
        for machine in machines
        if machine.state in BILLED and _is_silent(machine, known.get(machine.id), now)
    )


def _is_silent(machine: Machine, beat: Heartbeat | None, now: float) -> bool:
    if beat is None:
        return now - machine.launched.timestamp() > HUNG_SECONDS
    return beat.state not in _ENDED and now - beat.seen > HUNG_SECONDS
