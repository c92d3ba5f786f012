"""A whole worker in this process, on a queue and a store in memory, with real commands."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from tests.functional.agent.live import LiveWorker
from tests.functional.agent.threaded import Clock, PromptQueue, ThreadedQueue, ThreadedStore

from parallelize_agent.assembly import Assembly, Notice
from parallelize_agent.gpu.monitor import Monitor
from parallelize_agent.machine.metadata import Instance
from parallelize_agent.machine.root_setup import NO_ROOT_SETUP, RootSetup
from parallelize_agent.memory.admission import Memory
from parallelize_agent.memory.peaks import PeakModel
from parallelize_agent.notify.means import Means, Patience
from parallelize_agent.shutdown import ShutdownReason
from parallelize_core.clock import boot_seconds
from parallelize_core.config import AgentConfig, DrainSettings
from parallelize_core.container_image import Image
from parallelize_core.files import InputFile, joint_etag
from parallelize_core.heartbeat import Heartbeat
from parallelize_core.job import JobMessage
from parallelize_core.lane import Lane
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import Cursor, Entry, encode_part
from parallelize_core.queue import Queue
from parallelize_core.result import Attempt, Result
from parallelize_core.run import (
    Checkpointing,
    Dependencies,
    Environment,
    Limits,
    OutputNaming,
    Run,
    Serve,
    Setup,
    Then,
)
from parallelize_core.store import AsyncStore, Store
from parallelize_core.testing import InMemoryQueue, InMemoryStore

T = TypeVar("T")

HOURLY_USD = 0.25
"""What each of the machines costs."""

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
    interruption_margin_seconds=3,
    drain=DrainSettings(samples=2, interval_seconds=0, in_flight_margin_seconds=0),
    disk_reserve_bytes=0,
    hourly_usd={"on-demand t.small": HOURLY_USD},
)

LOCAL = Means(is_local=True, patience=Patience(first_pause=0.05, look=0.05))
GENTLE = Limits(grace_seconds=0.2)
AS_PRINTED = OutputNaming()


def until(condition: Callable[[], T | None], seconds: float = 20) -> T:
    """Ask again and again until the answer is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return answer


def no_clients(service: str, _: str) -> Any:
    """Stand for AWS where no other service is to be asked."""
    raise AssertionError(f"{service} was asked")


PLENTY = 2**40
"""What a worker believes to have of memory: no test waits until something is known of its jobs."""


def memory_of(size: int) -> Memory:
    """Return a machine's memory of this size in bytes, all of which stay free."""
    return Memory(size, PeakModel(), lambda: size)


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
    dependencies: Dependencies | None = None
    root_setup: RootSetup = NO_ROOT_SETUP
    template: tuple[str, ...] = ()
    """The words after the script, with places for the input."""
    columns: tuple[str, ...] = ()
    version: Literal[1, 2] = 1
    """2 lets jobs be more than a file each."""
    serve: Serve | None = None
    checkpoints: Checkpointing = field(default_factory=Checkpointing)
    image: Image | None = None
    means: Means = LOCAL
    then: Then | None = None
    lanes: tuple[Lane, ...] = ()
    """Those beside the main one."""

    def __post_init__(self) -> None:
        self.queue = PromptQueue(self.clock)
        self.dead = InMemoryQueue()
        self.lane_queues = {lane: PromptQueue(self.clock) for lane in self.lanes}
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
            v=self.version,
            columns=self.columns,
            name="r",
            command=("./job.sh", *self.template),
            template=bool(self.template),
            environment=self.environment,
            setup=self.setup,
            dependencies=self.dependencies,
            input=self.layout.input,
            output=self.layout.output,
            limits=self.limits,
            serve=self.serve,
            checkpoints=self.checkpoints,
            image=self.image,
            then=self.then,
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
        self.add_entries(entries, send=send, sent=sent)

    def add_job(
        self,
        key: str,
        files: Mapping[str, bytes],
        variables: Mapping[str, str] | None = None,
        columns: Sequence[str] = (),
    ) -> None:
        """Write the files of one job, which `columns` may name, and put it on the queue."""
        listed = []
        for place, (name, body) in enumerate(files.items()):
            etag = self.store.put(self.layout.input.key(name), body) or ""
            column = columns[place] if columns else ""
            listed.append(InputFile(key=name, size=len(body), etag=etag, column=column))
        entry = Entry(
            key=key,
            size=sum(file.size for file in listed),
            etag=joint_etag(listed),
            files=tuple(listed),
            variables=dict(variables or {}),
        )
        self.add_entries([entry])

    def add_entries(
        self, entries: Sequence[Entry], *, send: bool = True, sent: int | None = None
    ) -> None:
        """Write a part of the manifest, and put its jobs on the queue."""
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
        open_store: Callable[[str], AsyncStore] | None = None,
        alive: Callable[[], None] = lambda: None,
        notice: Notice | None = None,
        memory: Memory | None = None,
        gpus: Monitor | None = None,
        cdi_folders: Sequence[Path] = (),
        lane: Lane = Lane.MAIN,
        market: str = "on-demand",
    ) -> LiveWorker:
        """Make a worker, with its own way to the queue and the store if it needs one."""
        own = store or self.store
        queues = {Lane.MAIN: queue or self.queue, **self.lane_queues}
        assembly = Assembly(
            config=self.config.model_copy(update={"lane": lane}),
            instance=Instance(name, "t.small", "z1", market),
            work_dir=(folder or self.folder) / name,
            open_store=open_store or (lambda _: ThreadedStore(own)),
            open_rare=lambda _: own,
            open_client=no_clients,
            queue=ThreadedQueue(queues[lane]),
            lane_queues={lane: ThreadedQueue(queue) for lane, queue in queues.items()},
            dead_letters=ThreadedQueue(self.dead),
            root_setup=self.root_setup,
            means=self.means,
            clock=clock,
            now=now,
            alive=alive,
            notice=notice,
            memory=memory or memory_of(PLENTY),
            gpus=gpus or Monitor(),
            cdi_folders=cdi_folders,
        )
        return LiveWorker(assembly)

    @property
    def setups(self) -> dict[str, str]:
        """What set-ups have printed, by worker and environment."""
        prefix = self.layout.setups.prefix
        items = self.store.list(prefix)
        return {item.key.removeprefix(prefix): self.store.get(item.key).decode() for item in items}

    def run(self, name: str = "w1") -> ShutdownReason:
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

    def has_heartbeat(self, name: str = "w1") -> bool:
        return self.store.head(self.layout.heartbeat(name)) is not None

    def heartbeat(self, name: str = "w1") -> Heartbeat:
        return Heartbeat.decode(self.store.get(self.layout.heartbeat(name)))

    def waiting(self) -> list[JobMessage]:
        """Return the jobs on the main queue, whether or not somebody has them."""
        return [JobMessage.decode(body) for body in self.queue.bodies()]

    def waiting_in(self, lane: Lane) -> list[JobMessage]:
        """Return the jobs on the queue of another lane."""
        return [JobMessage.decode(body) for body in self.lane_queues[lane].bodies()]
