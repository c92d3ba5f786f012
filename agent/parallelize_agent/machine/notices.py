"""Notices that this machine is about to be taken away.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from parallelize_agent.machine.group import STATE_PATH
from parallelize_agent.machine.metadata import Metadata
from parallelize_core.heartbeat import SPOT_NOTICE

log = structlog.get_logger()

SPOT_NOTICE_SECONDS = 120
"""What AWS promises between a spot notice and the end."""


@dataclass(frozen=True)
class Notice:
    """The machine will be taken away; `seconds` are left, None if not announced."""

    reason: str
    seconds: float | None


def read_notice(metadata: Metadata, now: datetime | None = None) -> Notice | None:
    """Return the notice, if there is one; raises ServiceError if the service does not answer."""
    if text := metadata.get("meta-data/spot/instance-action"):
        return _spot_notice(text, now or datetime.now(UTC))
    if metadata.get(STATE_PATH) == "Terminated":
        return Notice("the Auto Scaling group takes this machine away", None)
    return None


def _spot_notice(text: str, now: datetime) -> Notice:
    try:
        action = json.loads(text)
        end = datetime.fromisoformat(action["time"])
        seconds = (end - now).total_seconds()
        return Notice(f"{SPOT_NOTICE}: {action['action']} at {action['time']}", max(0, seconds))
    except (ValueError, KeyError, TypeError):
        # It is a notice all the same, and there is no more time than usual.
        return Notice(f"{SPOT_NOTICE}: {text[:200]}", SPOT_NOTICE_SECONDS)


class NoticeWatch:
    """Looks for a notice every `interval_seconds`."""

    def __init__(self, metadata: Metadata, interval_seconds: float) -> None:
        self._metadata = metadata
        self._interval = interval_seconds
        self._rebalance: str | None = None

    async def first(self) -> Notice:
        """Wait for a notice, and return it; keeps looking, whatever goes wrong."""
        while True:
            await asyncio.sleep(self._interval)
            try:
                if notice := await asyncio.to_thread(self._look):
                    return notice
            except Exception as error:
                log.warning("notices not read", error=str(error) or repr(error))

    def _look(self) -> Notice | None:
        notice = read_notice(self._metadata)
        if notice is None:
            self._log_rebalance()
        return notice

    def _log_rebalance(self) -> None:
        """Log a rebalance recommendation: a hint, often long before a notice."""
        text = self._metadata.get("meta-data/events/recommendations/rebalance")
        if text and text != self._rebalance:
            log.warning("rebalance recommendation", text=text[:200])
        self._rebalance = text
