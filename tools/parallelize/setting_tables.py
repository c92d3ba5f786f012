"""The tables of parallelize.toml and their settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from parallelize.setting_types import (
    Bytes,
    Counts,
    GpuShare,
    Grid,
    Pairs,
    Seconds,
    Sizes,
    Slots,
    Tags,
    Words,
    halt_limit,
    notify_target,
    output_template,
    relative_globs,
)
from parallelize_core.names import FIRST, checked_stack
from parallelize_core.run import (
    CHECKPOINT_BYTES,
    CHECKPOINT_SECONDS,
    DEFAULT_OUTPUT_NAME,
    SERVED_GROWTH_BYTES,
    SERVED_JOBS,
)


class Table(BaseModel):
    """One table of parallelize.toml."""

    # Each kind of table is built once, within all settings, and not before by itself.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class RunTable(Table):
    """What to execute, and on what."""

    name: str | None = None
    inputs: str = "inputs/"
    exclude: Words = ()
    include: Words = ()
    group: str | int | None = None
    grid: Grid = Field(default={})
    command: str | None = None
    shell: bool = False
    serve: bool = False
    serve_jobs: int = Field(default=SERVED_JOBS, ge=1)
    serve_growth: Bytes = Field(default=SERVED_GROWTH_BYTES, gt=0)
    then: str | None = None
    then_partial: bool = False
    image: str | None = Field(default=None, min_length=1)
    image_secret: str | None = None
    network: bool = False
    env: str | None = None
    env_prefix: str = ""
    dependencies: str = Field(default="auto", min_length=1)
    setup: str | None = None
    setup_timeout: Seconds = Field(default=30 * 60, gt=0)
    timeout: Seconds | None = Field(default=None, gt=0)
    attempts: int = Field(default=3, ge=1)
    require_output: bool | None = None
    memory_per_job: Bytes | None = Field(default=None, gt=0)
    checkpoint_every: Seconds = Field(default=CHECKPOINT_SECONDS, gt=0)
    checkpoint_limit: Bytes = Field(default=CHECKPOINT_BYTES, gt=0)
    gpus_per_job: int = Field(default=0, ge=0)
    gpu_share: GpuShare = 1
    halt: Annotated[str | None, BeforeValidator(halt_limit)] = None
    changed: Literal["ask", "redo", "keep", "fail"] = "ask"
    reuse: bool = True
    notify: Annotated[str | None, AfterValidator(notify_target)] = None


class OutputTable(Table):
    """Where outputs go, and how they are named."""

    to: str | None = None
    name: Annotated[str, BeforeValidator(output_template)] = DEFAULT_OUTPUT_NAME
    on_clash: Literal["fail", "suffix", "replace"] = "fail"
    collect: Annotated[Words, AfterValidator(relative_globs)] = ()


class AwsTable(Table):
    """Which account, region and bucket."""

    profile: str | None = None
    region: str | None = None
    stack: Annotated[str, AfterValidator(checked_stack)] = FIRST
    bucket: str = Field(default="auto", min_length=1)
    prefix: str = ""
    subnets: Words = ()
    tags: Tags = Field(default={})
    requester_pays: Words = ()
    kms_keys: Pairs = Field(default={})


ARCHITECTURES = {"x86_64": ("x86_64",), "arm64": ("arm64",), "both": ("x86_64", "arm64")}
"""The values of `workers.architecture`."""

DEFAULT_TYPES = (
    "c7i.xlarge", "c6i.xlarge", "c6a.xlarge", "c7a.xlarge",
    "m7i.xlarge", "m6i.xlarge", "m6a.xlarge", "m7a.xlarge",
    "c5.xlarge", "c5a.xlarge", "m5.xlarge", "m5a.xlarge",
)  # fmt: skip
"""Many types, all x86-64 with four vCPUs: one empty or reclaimed pool must not stop a run."""


class LaneTable(Table):
    """How the machines of a lane differ; `max_price` in USD an hour for one."""

    count: int = Field(default=1, ge=1)
    types: Words = ()
    market: Literal["spot", "on-demand"] | None = None
    max_price: float | None = Field(default=None, gt=0)


class LargeTable(LaneTable):
    """The machines for jobs that ran out of memory: only the user knows types with enough of it."""

    types: Words = Field(min_length=1)


class SteadyTable(LaneTable):
    """The machines for jobs that are interrupted again and again."""

    market: Literal["spot", "on-demand"] | None = "on-demand"


class WorkersTable(Table):
    """The machines; `disk` in bytes, `max_cost` in USD, `max_price` in USD an hour for one.

    `disk_throughput` is in MiB/s. Its bounds, and those of `disk_iops`, are gp3's:
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EbsBlockDevice.html
    """

    count: int = Field(default=2, ge=0)
    types: Words = DEFAULT_TYPES
    vcpus: Counts = None
    memory: Sizes = None
    accelerators: Counts = None
    architecture: Literal["x86_64", "arm64", "both"] = "x86_64"
    ami: str = "auto"
    ami_owner: Annotated[str, Field(pattern=r"^(self|amazon|aws-marketplace|\d{12})$")] = "self"
    slots: Slots = 0
    disk: Bytes = Field(default=50 * 2**30, gt=0)
    disk_iops: int | None = Field(default=None, ge=3000, le=80_000)
    disk_throughput: int | None = Field(default=None, ge=125, le=2000)
    market: Literal["spot", "on-demand"] = "spot"
    fleet: Literal["one-time", "persistent"] = "one-time"
    on_demand: int = Field(default=0, ge=0)
    fallback: bool = False
    autoscale: bool = False
    backlog_per_worker: int = Field(default=100, ge=1)
    max_price: float | None = Field(default=None, gt=0)
    max_hours: float | None = Field(default=12, gt=0)
    max_cost: float | None = Field(default=None, gt=0)
    root_setup: str | None = None
    shutdown: bool = True
    shutdown_behavior: Literal["terminate", "stop"] = "terminate"
    instance_profile: str | None = None
    key_name: str | None = None
    security_groups: Words = ()
    metrics: bool = True
    log_group: str | None = None
    large: LargeTable | None = None
    steady: SteadyTable | None = None


class AgentTable(Table):
    """How agents behave; None leaves the default of `parallelize_core.config`."""

    lease: Seconds | None = Field(default=None, ge=2)
    poll: Seconds | None = Field(default=None, ge=0, le=20)
    heartbeat: Seconds | None = Field(default=None, gt=0)
    max_idle: Seconds | None = Field(default=None, gt=0)
    max_outage: Seconds | None = Field(default=None, gt=0)
    transfers: int | None = Field(default=None, ge=1, le=64)
    disk_reserve: Bytes | None = Field(default=None, ge=0)
    stop_grace: Seconds | None = Field(default=None, ge=0)
    drain_samples: int | None = Field(default=None, ge=1)
    drain_interval: Seconds | None = Field(default=None, ge=0)
    drain_margin: Seconds | None = Field(default=None, ge=0)


class ReportTable(Table):
    """What `run` writes at its end: if `html` is set, NAME-report.html in the current folder."""

    html: bool = True
