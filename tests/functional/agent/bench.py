"""A whole worker in this process, on a queue and a store in memory, with real commands."""

from __future__ import annotations

import asyncio
import io
import threading
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any, Literal, TypeVar

from parallelize_agent.assembly import Assembly, Notice
from parallelize_agent.machine.instance import Instance
from parallelize_agent.machine.root_setup import NO_ROOT_SETUP, RootSetup
from parallelize_agent.memory.admission import Memory
from parallelize_agent.memory.peaks import PeakModel
from parallelize_agent.notify.means import Means, Patience
from parallelize_agent.shutdown import ShutdownReason
from parallelize_agent.worker import Worker
from parallelize_core.clock import boot_seconds
from parallelize_core.config import AgentConfig, DrainSettings
from parallelize_core.container_image import Image
from parallelize_core.files import InputFile, joint_etag
from parallelize_core.heartbeat import Heartbeat
from parallelize_core.job import JobMessage
from parallelize_core.lane import Lane
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import Cursor, Entry, encode_part
from parallelize_core.queue import Message, Queue, QueueCounts
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
from parallelize_core.store import ALWAYS, AsyncStore, Condition, ObjectInfo, Store
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


class ThreadedQueue:
    """`queue`, for an event loop, whose calls may block as long as a test likes."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    async def send(self, bodies: Sequence[str], delay_seconds: int = 0) -> None:
        await asyncio.to_thread(self.queue.send, bodies, delay_seconds)

    async def receive(self, limit: int, wait_seconds: int, lease_seconds: int) -> list[Message]:
        return await asyncio.to_thread(self.queue.receive, limit, wait_seconds, lease_seconds)

    async def extend(self, receipts: Sequence[str], lease_seconds: int) -> list[str]:
        return await asyncio.to_thread(self.queue.extend, receipts, lease_seconds)

    async def delete(self, receipts: Sequence[str]) -> None:
        await asyncio.to_thread(self.queue.delete, receipts)

    async def counts(self) -> QueueCounts:
        return await asyncio.to_thread(self.queue.counts)


class ThreadedStore:
    """`store`, for an event loop, whose calls may block as long as a test likes."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.bucket = store.bucket

    async def get(self, key: str) -> bytes:
        return await asyncio.to_thread(self.store.get, key)

    async def get_within(self, key: str, limit: int, etag: str = "") -> bytes | None:
        with NamedTemporaryFile() as file:
            path = Path(file.name)
            size = await asyncio.to_thread(self.store.get_file, key, path, etag)
            return path.read_bytes() if size <= limit else None

    async def get_file(self, key: str, path: Path, etag: str = "") -> int:
        return await asyncio.to_thread(self.store.get_file, key, path, etag)

    async def head(self, key: str) -> ObjectInfo | None:
        return await asyncio.to_thread(self.store.head, key)

    async def put(
        self,
        key: str,
        body: bytes,
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        return await asyncio.to_thread(self.store.put, key, body, condition, metadata)

    async def put_file(
        self,
        key: str,
        file: IO[bytes],
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        return await asyncio.to_thread(self.store.put_file, key, file, condition, metadata)

    async def list(self, prefix: str, *, folder_only: bool = False) -> AsyncIterator[ObjectInfo]:
        found = await asyncio.to_thread(
            lambda: list(self.store.list(prefix, folder_only=folder_only))
        )
        for item in found:
            yield item

    async def delete(self, keys: Iterable[str]) -> None:
        await asyncio.to_thread(self.store.delete, keys)


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

    def heartbeat(self, name: str = "w1") -> Heartbeat:
        return Heartbeat.decode(self.store.get(self.layout.heartbeat(name)))

    def waiting(self) -> list[JobMessage]:
        """Return the jobs on the main queue, whether or not somebody has them."""
        return [JobMessage.decode(body) for body in self.queue.bodies()]

    def waiting_in(self, lane: Lane) -> list[JobMessage]:
        """Return the jobs on the queue of another lane."""
        return [JobMessage.decode(body) for body in self.lane_queues[lane].bodies()]


class LiveWorker:
    """A worker on an event loop of its own, and what a test in another thread may do with it."""

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._loop: asyncio.AbstractEventLoop | None = None
        self._made = threading.Event()
        self.worker: Worker | None = None

    def run(self) -> ShutdownReason:
        """Run it to its end."""
        return asyncio.run(self._run())

    async def _run(self) -> ShutdownReason:
        self._loop = asyncio.get_running_loop()
        try:
            self.worker = await self._assembly.worker()
        finally:
            self._made.set()
        return await self.worker.run()

    def describe(self) -> Heartbeat:
        """Return its account of itself."""
        return self._there().describe()

    @property
    def decided(self) -> ShutdownReason | None:
        """Its decision to shut down, if there is one."""
        return self._there().shutdown.decided

    def shut_down(
        self, reason: str, seconds: float | None = None, *, imposed: bool = False
    ) -> None:
        """Have it shut down."""
        decide = partial(self._there().shutdown.decide, reason, seconds, imposed=imposed)
        assert self._loop
        # It may have ended by itself.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(decide)

    def _there(self) -> Worker:
        assert self._made.wait(20)
        assert self.worker
        return self.worker


class Background:
    """A worker in a thread."""

    def __init__(self, worker: LiveWorker) -> None:
        self.worker = worker
        self.departure: ShutdownReason | None = None
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def leave(self, seconds: float | None = 0, reason: str = "the test says so") -> ShutdownReason:
        """Have it leave, and wait until it has."""
        self.worker.shut_down(reason, seconds)
        return self.join()

    def join(self, seconds: float = 30) -> ShutdownReason:
        self._thread.join(seconds)
        assert self.departure, "it has not left in time"
        return self.departure

    def _run(self) -> None:
        self.departure = self.worker.run()


@contextmanager
def at_work(*workers: LiveWorker) -> Iterator[Sequence[Background]]:
    """Let workers run in the background, and make sure that they have left in the end."""
    backgrounds = [Background(worker) for worker in workers]
    for background in backgrounds:
        background.start()
    try:
        yield backgrounds
    finally:
        for background in backgrounds:
            background.leave()
