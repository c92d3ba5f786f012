"""After each heartbeat: figures for dashboards and alarms, and the run's cost limit.

Every worker tells of itself. What concerns the whole run is told by one of them, the first in the
order of ids that is alive; its cost limit is kept by the first of those with the lowest limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from parallelize_agent.reporting.heartbeat import read_heartbeats
from parallelize_core.config import AgentConfig
from parallelize_core.cost import spent_usd
from parallelize_core.errors import BOUNDARY_ERRORS, DecodeError, MissingError
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.pause import pause
from parallelize_core.run import Run
from parallelize_core.store import Store

if TYPE_CHECKING:
    from types_boto3_cloudwatch import CloudWatchClient

log = structlog.get_logger()

NAMESPACE = "Parallelize"
"""What the alarms and the dashboard of the stack read; the workers' role allows no other."""

_ENDED = {WorkerState.LEFT, WorkerState.FAILED}


@dataclass(frozen=True)
class Measurement:
    """One figure; the stack's alarms use the names."""

    name: str
    value: float


Publish = Callable[[Sequence[Measurement]], None]


def of_worker(now: Heartbeat, before: Heartbeat | None) -> list[Measurement]:
    """Return what a worker tells of itself since its last heartbeat."""
    done = now.done - (before.done if before else 0)
    failed = now.failed - (before.failed if before else 0)
    return [
        Measurement("Heartbeats", 1),
        Measurement("Finished", done + failed),
        Measurement("Failed", failed),
        Measurement("WorkerHours", max(0.0, now.seen - now.started) / 3600),
    ]


def of_run(run: Run, spent: float, now: datetime) -> list[Measurement]:
    """Return what one worker tells of the whole run."""
    age = now - datetime.fromisoformat(run.created_at).astimezone(UTC)
    return [
        Measurement("RunUsd", spent),
        Measurement("RunDays", age.total_seconds() / 86400),
    ]


class Publisher:
    """Sends figures to CloudWatch, until it is told that it may not."""

    def __init__(self, client: CloudWatchClient) -> None:
        self._client = client
        self._refused = False

    def __call__(self, figures: Sequence[Measurement]) -> None:
        """Send figures; what goes wrong is logged, and never stops the work."""
        if self._refused:
            return
        data = [{"MetricName": figure.name, "Value": figure.value} for figure in figures]
        try:
            self._client.put_metric_data(Namespace=NAMESPACE, MetricData=data)  # type: ignore[arg-type]
        except ClientError as error:
            self._refused = error.response["Error"]["Code"] in {"AccessDenied", "404"}
            log.warning("figures not sent", error=str(error), again=not self._refused)
        except BotoCoreError as error:
            log.warning("figures not sent", error=str(error))


@dataclass(frozen=True)
class Duties:
    """What a worker sees to for the whole run: its cost limit, if one is set, and its figures."""

    limit: float | None = None
    publish: Publish | None = None

    def beside(self, other: Heartbeat) -> Duties:
        """Return what is left when another worker comes first.

        It tells the figures. It keeps a limit only if it was given one, and that is no higher:
        workers of several launches have the settings of their own launch.
        """
        kept = self.limit and other.max_cost_usd and other.max_cost_usd <= self.limit
        return Duties(None if kept else self.limit, None)


NO_DUTIES = Duties()


class Accounts:
    """One worker's books. `publish` None sends no figures; the cost limit is kept all the same."""

    def __init__(self, config: AgentConfig, records: Store, publish: Publish | None) -> None:
        self._config = config
        self._records = records
        self._publish = publish
        self._before: Heartbeat | None = None
        self._ended: set[str] = set()

    def settle(self, heartbeat: Heartbeat) -> None:
        """Bring the books up to date; what goes wrong is logged, and never stops the work."""
        try:
            if self._publish:
                self._publish(of_worker(heartbeat, self._before))
            self._before = heartbeat
            self._settle_run(self._duties(heartbeat))
        except (BotoCoreError, ClientError, *BOUNDARY_ERRORS) as error:
            log.warning("accounts not settled", error=str(error))

    def _settle_run(self, duties: Duties) -> None:
        if not (duties.limit or duties.publish):
            return
        layout = self._config.layout
        spent = spent_usd(read_heartbeats(self._records, layout))
        if duties.limit and spent >= duties.limit:
            reason = f"the cost limit of ${duties.limit:.2f} is reached (about ${spent:.2f} spent)"
            if pause(self._records, layout, reason):
                log.warning("run paused", reason=reason)
        if duties.publish:
            run = Run.decode(self._records.get(layout.run_json))
            duties.publish(of_run(run, spent, datetime.now(UTC)))

    def _duties(self, mine: Heartbeat) -> Duties:
        """Return what no living worker with a lower id does already."""
        duties = Duties(self._config.max_cost_usd, self._publish)
        if duties == NO_DUTIES:
            return duties
        for other in self._living_before(mine):
            duties = duties.beside(other)
            if duties == NO_DUTIES:
                break
        return duties

    def _living_before(self, mine: Heartbeat) -> Iterator[Heartbeat]:
        """Go through the living workers with a lower id; reads no more heartbeats than it must."""
        layout = self._config.layout
        own = layout.heartbeat(mine.worker)
        for item in self._records.list(layout.agents.prefix):
            if item.key >= own:
                break
            if item.key not in self._ended and (other := self._alive(item.key, mine.seen)):
                yield other

    def _alive(self, key: str, now: float) -> Heartbeat | None:
        try:
            other = Heartbeat.decode(self._records.get(key))
        except (DecodeError, MissingError):
            return None
        if other.state in _ENDED:
            self._ended.add(key)
        return other if other.alive(now) else None
