"""What a worker works with: the services outside, and the machine under it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from parallelize_agent.accounts import Accounts
from parallelize_agent.acknowledge import Acknowledger
from parallelize_agent.cgroup import JobCgroups
from parallelize_agent.claim import Claims
from parallelize_agent.environment import Environments
from parallelize_agent.lease import LeaseKeeper
from parallelize_agent.root_setup import NO_ROOT_SETUP, RootSetup
from parallelize_agent.run_source import RunSource
from parallelize_agent.scratch import ScratchSpace
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
