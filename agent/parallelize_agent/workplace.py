"""What a worker works with: the services outside, and the machine under it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from parallelize_agent.job.environment import Environments
from parallelize_agent.job.run_source import RunSource
from parallelize_agent.job.scratch import ScratchSpace
from parallelize_agent.machine.root_setup import NO_ROOT_SETUP, RootSetup
from parallelize_agent.process.cgroup import JobCgroups
from parallelize_agent.queue.acknowledger import Acknowledger
from parallelize_agent.queue.claims import Claims
from parallelize_agent.queue.leases import LeaseKeeper
from parallelize_agent.reporting.accounts import Accounts
from parallelize_core.queue import Queue
from parallelize_core.store import Store


@dataclass(frozen=True)
class Services:
    """What lies outside the machine; `records` is the run's bucket, `open_store` gives others."""

    queue: Queue
    dead_letters: Queue
    records: Store
    open_store: Callable[[str], Store]
    run: RunSource
    claims: Claims
    keeper: LeaseKeeper
    acknowledger: Acknowledger
    accounts: Accounts


@dataclass(frozen=True)
class Machine:
    """The worker and what it has.

    `type` and `zone` are EC2's words, empty elsewhere; `hourly_usd` is the price at launch.
    """

    worker: str
    work_dir: Path
    slots: int
    scratch: ScratchSpace
    environments: Environments
    root_setup: RootSetup = NO_ROOT_SETUP
    cgroups: JobCgroups | None = None
    type: str = ""
    zone: str = ""
    hourly_usd: float | None = None
