"""After each heartbeat: metrics for dashboards and alarms, and the run's cost limit.

Every worker publishes its own. Metrics of the whole run are published by its leader, the living
worker with the lowest id; its cost limit is enforced by the first of those with the lowest limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from parallelize_agent.reporting.peers import read_heartbeats
from parallelize_core.config import AgentConfig
from parallelize_core.cost import spent_usd
from parallelize_core.errors import DecodeError, MissingError, code_of
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.pause import cost_limit_reason, pause
from parallelize_core.run import Run
from parallelize_core.store import ObjectInfo, Store

if TYPE_CHECKING:
    from types_boto3_cloudwatch import CloudWatchClient

log = structlog.get_logger()

MOST_SECONDS = 15.0
"""How long a worker waits for its metrics to be published before it goes on without."""

_ENDED = {WorkerState.LEFT, WorkerState.FAILED}


@dataclass(frozen=True)
class Measurement:
    """One figure; the stack's alarms use the names."""

    name: str
    value: float


Publish = Callable[[Sequence[Measurement]], None]


def of_worker(now: Heartbeat, before: Heartbeat | None) -> list[Measurement]:
    """Return what a worker reports about itself since its last heartbeat."""
    done = now.done - (before.done if before else 0)
    failed = now.failed - (before.failed if before else 0)
    return [
        Measurement("Heartbeats", 1),
        Measurement("Finished", done + failed),
        Measurement("Failed", failed),
        Measurement("WorkerHours", max(0.0, now.seen - now.started) / 3600),
    ]


def of_run(run: Run, spent: float, now: datetime) -> list[Measurement]:
    """Return what one worker reports about the whole run."""
    age = now - datetime.fromisoformat(run.created_at).astimezone(UTC)
    return [
        Measurement("RunUsd", spent),
        Measurement("RunDays", age.total_seconds() / 86400),
    ]


class Publisher:
    """Sends figures to CloudWatch, until that is forbidden.

    The stack's alarms and dashboard read its namespace; the workers' role allows no other.
    """

    def __init__(self, open_client: Callable[[], CloudWatchClient], namespace: str) -> None:
        self._open_client = open_client
        self._namespace = namespace
        self._client: CloudWatchClient | None = None
        self._refused = False

    def __call__(self, figures: Sequence[Measurement]) -> None:
        """Send metrics; errors are logged, and never stop the work."""
        if self._refused:
            return
        data = [{"MetricName": figure.name, "Value": figure.value} for figure in figures]
        try:
            self._client = self._client or self._open_client()
            self._client.put_metric_data(Namespace=self._namespace, MetricData=data)  # type: ignore[arg-type]
        except Exception as error:
            self._refused = code_of(error) in {"AccessDenied", "404"}
            log.warning("metrics not sent", error=str(error), again=not self._refused)


@dataclass(frozen=True)
class Lead:
    """What a worker does for the whole run: enforce its cost limit, and publish its metrics."""

    limit: float | None = None
    publish: Publish | None = None

    def beside(self, other: Heartbeat) -> Lead:
        """Return what is left to do when another worker comes first.

        The other publishes the figures. It enforces a limit only if it was given one that is not
        higher: workers of several launches have the settings of their own launch.
        """
        kept = self.limit and other.max_cost_usd and other.max_cost_usd <= self.limit
        return Lead(None if kept else self.limit, None)


NO_LEAD = Lead()


class Metrics:
    """One worker's figures. `publish` None sends none; the cost limit is enforced all the same.

    Everything but `publish_in_thread` blocks.
    """

    def __init__(self, config: AgentConfig, records: Store, publish: Publish | None) -> None:
        self._config = config
        self._records = records
        self._publish = publish
        self._before: Heartbeat | None = None
        self._ended: set[str] = set()

    async def publish_in_thread(self, heartbeat: Heartbeat) -> None:
        """Do as `publish`, in a thread; not longer than MOST_SECONDS."""
        with suppress(TimeoutError):
            async with asyncio.timeout(MOST_SECONDS):
                await asyncio.to_thread(self.publish, heartbeat)

    def publish(self, heartbeat: Heartbeat) -> None:
        """Publish what is new; errors are logged, and never stop the work."""
        try:
            if self._publish:
                self._publish(of_worker(heartbeat, self._before))
            self._before = heartbeat
            self._publish_run(self._lead(heartbeat))
        except Exception as error:
            log.warning("metrics not published", error=str(error) or repr(error))

    def _publish_run(self, lead: Lead) -> None:
        if not (lead.limit or lead.publish):
            return
        layout = self._config.layout
        prepared = self._config.rates.prepared if self._config.rates else 0.0
        spent = prepared + spent_usd(read_heartbeats(self._records, layout))
        if lead.limit and spent >= lead.limit:
            reason = cost_limit_reason(lead.limit, spent)
            if pause(self._records, layout, reason):
                log.warning("run paused", reason=reason)
        if lead.publish:
            run = Run.decode(self._records.get(layout.run_json))
            lead.publish(of_run(run, spent, datetime.now(UTC)))

    def _lead(self, mine: Heartbeat) -> Lead:
        """Return what no living worker with a lower id does already."""
        lead = Lead(self._config.max_cost_usd, self._publish)
        if lead == NO_LEAD:
            return lead
        for other in self._living_before(mine):
            lead = lead.beside(other)
            if lead == NO_LEAD:
                break
        return lead

    def _living_before(self, mine: Heartbeat) -> Iterator[Heartbeat]:
        """Yield the living workers with a lower id; reads no more heartbeats than necessary."""
        layout = self._config.layout
        own = layout.heartbeat(mine.worker)
        for item in self._records.list(layout.agents.prefix):
            if item.key >= own:
                break
            if item.key not in self._ended and (other := self._alive(item, mine.seen)):
                yield other

    def _alive(self, item: ObjectInfo, now: float) -> Heartbeat | None:
        try:
            other = Heartbeat.decode(self._records.get(item.key)).as_listed(item, now)
        except (DecodeError, MissingError):
            return None
        if other.state in _ENDED:
            self._ended.add(item.key)
        return other if other.alive(now) else None
