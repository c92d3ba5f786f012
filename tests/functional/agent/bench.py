"""A whole worker in this process, on a queue and a store in memory, with real commands."""

from __future__ import annotations

import io
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from parallelize_agent.job.environment import Environments
from parallelize_agent.job.preparation import Preparer
from parallelize_agent.job.run_source import RunSource
from parallelize_agent.job.scratch import ScratchSpace
from parallelize_agent.machine.root_setup import NO_ROOT_SETUP, RootSetup
from parallelize_agent.queue.acknowledger import Acknowledger
from parallelize_agent.queue.claims import Claims
from parallelize_agent.queue.leases import LeaseKeeper, LeaseTerms
from parallelize_agent.reporting.accounts import Accounts
from parallelize_agent.shutdown import Departure
from parallelize_agent.worker import Worker
from parallelize_agent.workplace import Machine, Services
from parallelize_core.clock import boot_seconds
from parallelize_core.config import AgentConfig, DrainSettings
from parallelize_core.heartbeat import Heartbeat
from parallelize_core.job import JobMessage
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import Cursor, Entry, encode_part
from parallelize_core.queue import Message, Queue
from parallelize_core.result import Attempt, Result
from parallelize_core.run import Environment, Limits, OutputNaming, Run, Setup
from parallelize_core.store import Store
from parallelize_core.testing import InMemoryQueue, InMemoryStore

T = TypeVar("T")

SWIFT = AgentConfig(
    run="r",
    bucket="bucket",
    queue_url="memory:queue",
    dead_letter_queue_url="memory:dead",
    slots=2,
    lease_seconds=6,
    poll_seconds=1,
    later_seconds=0,
    recovery_seconds=0,
    heartbeat_seconds=0.5,
    run_refresh_seconds=0.2,
    stop_grace_seconds=0.5,
    drain=DrainSettings(samples=2, interval_seconds=0, in_flight_margin_seconds=0),
    disk_reserve_bytes=0,
)

GENTLE = Limits(grace_seconds=0.2)
AS_PRINTED = OutputNaming()


def until(condition: Callable[[], T | None], seconds: float = 20) -> T:
    """Ask again and again until the answer is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return answer


class Clock:
    """Seconds since boot, which a test can let pass at once."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return boot_seconds() + self.ahead


class PromptQueue(InMemoryQueue):
    """A queue whose long polls are short."""

    def receive(self, limit: int, wait_seconds: int, lease_seconds: int) -> list[Message]:
        waited = super().receive(limit, 0, lease_seconds)
        if not waited and wait_seconds:
            time.sleep(0.05)
            waited = super().receive(limit, 0, lease_seconds)
        return waited


@dataclass
class Gate:
    """Commands wait here until the test lets them pass; `wait` is their part in shell."""

    folder: Path

    @property
    def wait(self) -> str:
        opened, arrived = self.folder / "open", self.folder / "arrived"
        return (
            f'mkdir -p "{arrived}"; touch "{arrived}/$(basename "$1")"; '
            f'until [ -e "{opened}" ]; do sleep 0.02; done'
        )

    def arrived(self) -> set[str]:
        folder = self.folder / "arrived"
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    def open(self) -> None:
        (self.folder / "open").touch()


def zipped(files: Mapping[str, str]) -> bytes:
    """Return a zip of executable files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o100755 << 16
            archive.writestr(info, text)
    return buffer.getvalue()


HOURLY_USD = 0.25
"""What each of the machines costs."""


@dataclass
class Bench:
    """A run whose command is the shell script `script`, and the workers on it."""

    folder: Path
    script: str
    limits: Limits = GENTLE
    naming: OutputNaming = AS_PRINTED
    config: AgentConfig = SWIFT
    store: InMemoryStore = field(default_factory=InMemoryStore)
    clock: Clock = field(default_factory=Clock)
    """The queue's; what it is ahead, leases have run out earlier."""
    parts: int = 0
    files: dict[str, str] = field(default_factory=dict)
    """What else is in the environment."""
    setup: Setup | None = None
    root_setup: RootSetup = NO_ROOT_SETUP
    setups: dict[str, str] = field(default_factory=dict)
    """What set-ups have printed, by environment."""

    def __post_init__(self) -> None:
        self.queue = PromptQueue(self.clock)
        self.dead = InMemoryQueue()
        self.use(self.script)

    @property
    def layout(self) -> RunLayout:
        return self.config.layout

    def use(self, script: str) -> None:
        """Give the run an environment with this script."""
        files = {"job.sh": f"#!/bin/sh\n{script}\n", "data.txt": "data\n", **self.files}
        zip_bytes = zipped(files)
        etag = self.store.put("env.zip", zip_bytes) or ""
        self.environment = Environment(bucket="bucket", key="env.zip", identity=etag)
        self.write_run()

    def write_run(self, paused: str = "") -> None:
        run = Run(
            name="r",
            command=("./job.sh",),
            environment=self.environment,
            setup=self.setup,
            input=self.layout.input,
            output=self.layout.output,
            limits=self.limits,
            naming=self.naming,
            created_at="2026-01-01T00:00:00Z",
            paused=paused,
        )
        self.store.put(self.layout.run_json, run.encode())

    def read_run(self) -> Run:
        return Run.decode(self.store.get(self.layout.run_json))

    def add(
        self, inputs: Mapping[str, bytes], *, send: bool = True, sent: int | None = None
    ) -> None:
        """Write inputs and a part of the manifest, and put the jobs on the queue."""
        entries = []
        for key, body in inputs.items():
            etag = self.store.put(self.layout.input.key(key), body) or ""
            entries.append(Entry(key=key, size=len(body), etag=etag))
        self.store.put(self.layout.manifest_part(self.parts), encode_part(entries))
        cursor = Cursor(sent=len(entries) if sent is None else sent)
        self.store.put(self.layout.cursor(self.parts), cursor.model_dump_json().encode())
        self.parts += 1
        if send:
            self.queue.send([entry.message("r").encode() for entry in entries])

    def message(self, key: str) -> JobMessage:
        """Return the message of an input that is there."""
        head = self.store.head(self.layout.input.key(key))
        assert head
        return JobMessage(run="r", key=key, size=head.size, etag=head.etag)

    def worker(
        self,
        name: str = "w1",
        *,
        queue: Queue | None = None,
        store: Store | None = None,
        clock: Callable[[], float] = boot_seconds,
        now: Callable[[], float] = time.time,
        folder: Path | None = None,
    ) -> Worker:
        """Make a worker, with its own way to the queue and the store if it needs one."""
        queue, store = queue or self.queue, store or self.store
        claims = Claims(store, self.layout, name, self.config.lease_seconds, now)
        terms = LeaseTerms(self.config.lease_seconds, self.config.claim_after_seconds)
        keeper = LeaseKeeper(queue, terms, claims, clock=clock)
        services = Services(
            queue=queue,
            dead_letters=self.dead,
            records=store,
            open_store=lambda _: store,
            run=RunSource(store, self.layout, self.config.run_refresh_seconds),
            claims=claims,
            keeper=keeper,
            acknowledger=Acknowledger(queue, keeper.release),
            accounts=Accounts(self.config, store, publish=None),
        )
        root = (folder or self.folder) / name
        root.mkdir(parents=True, exist_ok=True)
        scratch = ScratchSpace(root / "jobs")
        preparer = Preparer(scratch, None, self._keep)
        machine = Machine(
            worker=name,
            work_dir=root,
            slots=int(self.config.slots),
            scratch=scratch,
            environments=Environments(root / "environments", services.open_store, preparer),
            root_setup=self.root_setup,
            hourly_usd=HOURLY_USD,
        )
        return Worker(self.config, services, machine)

    def _keep(self, environment: str, log: Path) -> None:
        self.setups[environment] = log.read_text()

    def run(self, name: str = "w1") -> Departure:
        """Run one worker until it leaves."""
        return self.worker(name).run()

    def result(self, key: str) -> Result:
        return Result.decode(self.store.get(self.layout.result(key)))

    def has_result(self, key: str) -> bool:
        return self.store.head(self.layout.result(key)) is not None

    def output(self, name: str) -> bytes:
        return self.store.get(self.layout.output.key(name))

    def outputs(self) -> set[str]:
        prefix = self.layout.output.prefix
        return {item.key.removeprefix(prefix) for item in self.store.list(prefix)}

    def attempts(self, key: str) -> list[Attempt]:
        items = self.store.list(self.layout.logs(key), folder_only=True)
        return [Attempt.decode(self.store.get(i.key)) for i in items if i.key.endswith(".json")]

    def heartbeat(self, name: str = "w1") -> Heartbeat:
        return Heartbeat.decode(self.store.get(self.layout.heartbeat(name)))

    def waiting(self) -> list[JobMessage]:
        """Return the jobs on the queue, whether or not somebody has them."""
        return [JobMessage.decode(body) for body in self.queue.bodies()]


class Background:
    """A worker in a thread."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.departure: Departure | None = None
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def leave(self, seconds: float | None = 0, reason: str = "the test says so") -> Departure:
        """Have it leave, and wait until it has."""
        self.worker.leaving.decide(reason, seconds)
        return self.join()

    def join(self, seconds: float = 30) -> Departure:
        self._thread.join(seconds)
        assert self.departure, "it has not left in time"
        return self.departure

    def _run(self) -> None:
        self.departure = self.worker.run()


@contextmanager
def at_work(*workers: Worker) -> Iterator[Sequence[Background]]:
    """Let workers run in the background, and make sure that they have left in the end."""
    backgrounds = [Background(worker) for worker in workers]
    for background in backgrounds:
        background.start()
    try:
        yield backgrounds
    finally:
        for background in backgrounds:
            background.leave()
