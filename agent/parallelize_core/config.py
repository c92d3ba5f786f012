"""The agent's configuration: `launch` renders it into user data, the agent reads it."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parallelize_core.bucket_terms import Terms
from parallelize_core.charges import Rates
from parallelize_core.errors import UsageError
from parallelize_core.lane import Lane
from parallelize_core.layout import Location, RunLayout
from parallelize_core.names import FIRST, Names
from parallelize_core.record import first_fault

MAX_USER_DATA_BYTES = 16 * 1024
"""https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html"""

MAX_VISIBILITY_TIMEOUT_SECONDS = 12 * 60 * 60
"""SQS keeps a message invisible for 12 hours after its receive and no longer.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
"""


class DrainSettings(BaseModel):
    """When an agent decides that the run is over; SQS's counts need a minute to settle."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    samples: int = Field(default=4, ge=1)
    interval_seconds: float = Field(default=20, ge=0)
    in_flight_margin_seconds: float = Field(default=60, ge=0)


class SteadyStart(BaseModel):
    """That machines are started for the steady lane as soon as jobs wait in it, and how many.

    A machine that has to be started first is worth it for jobs that take `job_seconds` and more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    workers: int = Field(ge=1)
    job_seconds: float = Field(ge=0)


class AgentConfig(BaseModel):
    """One worker's configuration. It holds no secret: credentials come from the worker's role.

    `slots` is a number of jobs at once, 0 for every logical CPU, or a multiple of the cores such as
    "2x" or "0.5x". All times are in seconds, sizes in bytes. `hourly_usd` has the prices at launch
    (see `cost.price_key`), `rates` those of everything else that is charged; the run is paused when
    it has cost `max_cost_usd`. With `metrics`, the agent sends CloudWatch the figures that alarms
    need. `log_group` receives a copy of the agent's own log; if empty, nothing does.

    A job is retried `later_seconds` after its command asked for that, and `recovery_seconds` after
    a failure of the machine or the network. After `max_unfit` such failures in a row, the worker
    itself is faulty and leaves; it also leaves when S3 or SQS is out for `max_outage_seconds`. A
    job that was received more than `max_receives` times without an answer is taken to crash its
    workers, and is not retried.

    `queue_url` is the queue of the worker's own `lane`; if the run has several lanes,
    `lane_queue_urls` has the queues of all. `steady_start` says that workers for the steady lane
    are started once jobs are there; without it, only interrupted jobs are sent to that lane.

    `fleet` says how the worker was launched: a worker of a group reduces the group's size when it
    leaves. The metadata service may not know of the group at first.

    A worker that starts before its run has a record waits up to `run_within_seconds` for it.

    `path` is set in the local cloud only: the PATH of the shell that launched the machine.

    `root_setup` is a script that root runs on a machine from the image before the first job. It is
    here and not in S3 because the person who sets a machine's user data controls it anyway.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    WHOSE: ClassVar[tuple[str, ...]] = (
        "run", "stack", "bucket", "prefix", "region", "queue_url", "dead_letter_queue_url", "lane",
        "fleet",
    )  # fmt: skip

    v: Literal[1] = 1
    run: str
    stack: str = FIRST
    bucket: str
    prefix: str = ""
    region: str | None = None
    queue_url: str
    dead_letter_queue_url: str
    lane: Lane = Lane.MAIN
    lane_queue_urls: dict[Lane, str] = Field(default_factory=dict)
    steady_start: SteadyStart | None = None

    fleet: Literal["one-time", "persistent"] = "one-time"
    slots: int | str = 0
    transfers: int = Field(default=32, ge=1, le=64)
    lease_seconds: int = Field(default=120, ge=2, le=MAX_VISIBILITY_TIMEOUT_SECONDS)
    claim_after_seconds: float = Field(default=11.5 * 60 * 60, gt=0)
    poll_seconds: int = Field(default=20, ge=0, le=20)
    max_receives: int = Field(default=10, ge=2)
    later_seconds: int = Field(default=60, ge=0, le=900)
    recovery_seconds: int = Field(default=10, ge=0, le=900)
    max_unfit: int = Field(default=10, ge=1)
    heartbeat_seconds: float = Field(default=30, gt=0)
    run_refresh_seconds: float = Field(default=5, ge=0)
    run_within_seconds: float = Field(default=0, ge=0)
    notice_poll_seconds: float = Field(default=5, gt=0)
    interruption_margin_seconds: float = Field(default=25, ge=0)
    stop_grace_seconds: float = Field(default=90, ge=0)
    drain: DrainSettings = Field(default_factory=DrainSettings)
    max_outage_seconds: float = Field(default=30 * 60, gt=0)
    max_idle_seconds: float = Field(default=30 * 60, gt=0)
    max_runtime_seconds: float | None = Field(default=None, gt=0)
    disk_reserve_bytes: int = Field(default=1024**3, ge=0)
    shutdown: bool = True
    path: str = ""
    root_setup: str = ""
    hourly_usd: dict[str, float] = Field(default_factory=dict)
    rates: Rates | None = None
    metrics: bool = False
    log_group: str = ""
    max_cost_usd: float | None = Field(default=None, gt=0)
    requester_pays: tuple[str, ...] = ()
    kms_keys: dict[str, str] = Field(default_factory=dict)

    @property
    def terms(self) -> Terms:
        """What the owners of buckets ask for."""
        return Terms(self.requester_pays, self.kms_keys)

    @property
    def names(self) -> Names:
        """What the run's things are called in the account."""
        return Names(self.run, self.stack, self.lane)

    @property
    def layout(self) -> RunLayout:
        """The keys of the run that this worker serves."""
        return _layout(self.bucket, self.prefix, self.run)

    def encode(self, indent: int | None = None) -> str:
        """Return the configuration as the JSON that goes into user data; `indent` is for people."""
        return self.model_dump_json(indent=indent, exclude_defaults=True)

    @classmethod
    def decode(cls, text: str | bytes, source: str) -> Self:
        """Read a configuration; raise UsageError, which names `source`, if it is not one."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise UsageError(
                f"{source} is not an agent configuration",
                first_fault(error),
                "make one with: parallelize launch --print-config",
            ) from None

    @classmethod
    def decode_identity(cls, text: str | bytes) -> Self | None:
        """Return only what identifies the worker in an undecodable configuration; or None.

        An agent needs no more to say that it cannot work, and to leave.
        """
        try:
            found = json.loads(text)
            return cls.model_validate({name: found[name] for name in cls.WHOSE if name in found})
        except (ValueError, TypeError, RecursionError):
            return None


@lru_cache(maxsize=8)
def _layout(bucket: str, prefix: str, run: str) -> RunLayout:
    """Return the same layout each time, because it caches what each job needs."""
    return RunLayout(Location(bucket, prefix), run)
