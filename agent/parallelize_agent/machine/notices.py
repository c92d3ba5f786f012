"""Notices that this machine is about to be taken away.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from parallelize_agent.machine.metadata import Metadata
from parallelize_core.errors import ServiceError

log = structlog.get_logger()

SPOT_NOTICE_SECONDS = 120
"""What AWS promises between a spot notice and the end."""


@dataclass(frozen=True)
class Notice:
    """The machine goes; `seconds` are left, None if nobody says how many."""

    reason: str
    seconds: float | None


def read_notice(metadata: Metadata, now: datetime | None = None) -> Notice | None:
    """Return the notice there is, if any; raises ServiceError if the service does not answer."""
    if text := metadata.get("meta-data/spot/instance-action"):
        return _spot_notice(text, now or datetime.now(UTC))
    if metadata.get("meta-data/autoscaling/target-lifecycle-state") == "Terminated":
        return Notice("the Auto Scaling group takes this machine away", None)
    return None


def _spot_notice(text: str, now: datetime) -> Notice:
    try:
        action = json.loads(text)
        end = datetime.fromisoformat(action["time"])
        seconds = (end - now).total_seconds()
        return Notice(f"spot notice: {action['action']} at {action['time']}", max(0, seconds))
    except (ValueError, KeyError, TypeError):
        # It is a notice all the same, and there is no more time than usual.
        return Notice(f"spot notice: {text[:200]}", SPOT_NOTICE_SECONDS)


class NoticeWatch:
    """Looks for a notice every `interval_seconds` and hands the first to `tell`."""

    def __init__(
        self, metadata: Metadata, tell: Callable[[Notice], None], interval_seconds: float
    ) -> None:
        self._metadata = metadata
        self._tell = tell
        self._interval = interval_seconds
        self._stop = threading.Event()
        self._rebalance: str | None = None
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                notice = read_notice(self._metadata)
                self._log_rebalance()
            except ServiceError as error:
                log.warning("notices not read", error=str(error))
                continue
            if notice:
                self._tell(notice)
                return

    def _log_rebalance(self) -> None:
        """Say that AWS would rather have the machine back: a hint, often long before a notice."""
        text = self._metadata.get("meta-data/events/recommendations/rebalance")
        if text and text != self._rebalance:
            log.warning("rebalance recommendation", text=text[:200])
        self._rebalance = text
