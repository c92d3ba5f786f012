"""Five things that go wrong for one worker and forty files, and what comes of each."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.functional.agent.bench import SWIFT, Bench, until
from tests.functional.agent.faults import Faults, FaultyQueue, FaultyStore
from tests.functional.agent.live import LiveWorker, at_work
from tests.functional.core.transport.scripted import calling, served, trickle

from parallelize_core.errors import ArchivedError, MissingError
from parallelize_core.manifest import unfinished
from parallelize_core.testing import AsyncInMemoryStore, InMemoryStore
from parallelize_core.transport.client import Request
from parallelize_core.transport.connection import Patience

FILES = 40
COPY = 'n=$(basename "$1"); cp "$1" "$n.out"; echo "$n.out"'
ODD = "f7"
"""The file to which something happens, if it happens to one."""

_S3 = {"get", "get_file", "head", "put", "put_file", "list", "delete"}
_HASTY = Patience(0.5, progress_seconds=0.5, progress_bytes=1024)
_TRICKLING = trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")


@dataclass(frozen=True)
class Times:
    """How long an outage and a lease are, in seconds."""

    outage: float = 12
    lease: int = 6


@dataclass(frozen=True)
class Told:
    """What came of a scene, in one line; `lost` are the files that nobody knows of."""

    line: str
    lost: list[str]


class Scene:
    """A run of forty files, and a journal of which commands were run."""

    def __init__(self, folder: Path, times: Times, script: str = f"sleep 0.2; {COPY}") -> None:
        self.times = times
        self.journal = folder / "journal"
        config = SWIFT.model_copy(
            update={"lease_seconds": times.lease, "slots": 4, "max_idle_seconds": 3}
        )
        begun = f'basename "$1" >> "{self.journal}"'
        self.bench = Bench(folder / "workers", f"{begun}; {script}", config=config)
        self.keys = [f"f{number}" for number in range(FILES)]
        self.bench.add({key: key.encode() for key in self.keys})

    def told(self, what: str, worker: LiveWorker) -> Told:
        """Return how the files fare, in one line, and what the worker said last."""
        states = Counter(self._state(key) for key in self.keys)
        counts = ", ".join(f"{states[state]} {state}" for state in sorted(states))
        runs = Counter(self.journal.read_text().split())
        again = sum(count > 1 for count in runs.values())
        attempts = [record for key in self.keys for record in self.bench.attempts(key)]
        charged = sum(bool(a.cause and a.cause.charged) for a in attempts)
        last = self.bench.heartbeat(worker.describe().worker)
        lost = self.lost()
        line = (
            f"{what}: {counts}; {len(lost)} lost, {charged} charged attempts, {again} commands "
            f'twice; the worker {last.state}: "{last.reason}"'
        )
        return Told(line, lost)

    def enqueue_again(self) -> None:
        """Empty the queue, as nobody can read the deleted one, and send what has no result."""
        bench = self.bench
        while messages := bench.queue.receive(10, 0, 1):
            bench.queue.delete([message.receipt for message in messages])
        bench.clock.ahead = self.times.lease
        missing = list(unfinished(bench.store, bench.layout))
        bench.queue.send([entry.message("r").encode() for entry in missing])

    def _state(self, key: str) -> str:
        if not self.bench.has_result(key):
            return "without a result"
        result = self.bench.result(key)
        return result.status if result.cause is None else f"failed as {result.cause}"

    def lost(self) -> list[str]:
        """Return the files whose results are not there or not true, and that nobody knows of."""
        waiting = {job.key for job in self.bench.waiting()}
        return [key for key in self.keys if not (key in waiting or self._is_true(key))]

    def _is_true(self, key: str) -> bool:
        if not self.bench.has_result(key):
            return False
        result = self.bench.result(key)
        return result.status == "failed" or self.bench.output(f"{key}.out") == key.encode()


def outage(folder: Path, times: Times) -> Told:
    """S3 answers nothing for a while, in the middle of the run."""
    scene, faults = Scene(folder, times), Faults()
    worker = scene.bench.worker(store=FaultyStore(scene.bench.store, faults))
    with at_work(worker) as (background,):
        until(lambda: worker.describe().done >= 4)
        faults.broken = set(_S3)
        time.sleep(times.outage)
        faults.broken = set()
        background.join(120)
    return scene.told(f"S3 outage of {times.outage:g} s (lease {times.lease} s)", worker)


def queue_deleted(folder: Path, times: Times) -> Told:
    """The queue is deleted in the middle of the run; `enqueue` makes another later."""
    scene = Scene(folder, times)
    gone = threading.Event()

    def ask(_: str) -> None:
        if gone.is_set():
            raise MissingError("the run's queue does not exist")

    worker = scene.bench.worker(queue=FaultyQueue(scene.bench.queue, Faults(hook=ask)))
    with at_work(worker) as (background,):
        until(lambda: worker.describe().done >= 4)
        gone.set()
        background.join(60)
    without = scene.told("queue deleted", worker)
    scene.enqueue_again()
    second = scene.bench.worker("w2")
    second.run()
    after = scene.told("after enqueue", second)
    return Told(f"{without.line} -- {after.line}", after.lost)


def archived(folder: Path, times: Times) -> Told:
    """One object among forty is in an archive."""
    scene = Scene(folder, times)

    def refuse(call: str) -> None:
        if call == f"get_file {scene.bench.layout.input.key(ODD)}":
            raise ArchivedError(f"s3://bucket/{ODD} is in an archive", "restore it first")

    worker = scene.bench.worker(store=FaultyStore(scene.bench.store, Faults(hook=refuse)))
    worker.run()
    return scene.told("one archived object among forty", worker)


class TricklingStore(AsyncInMemoryStore):
    """A bucket of which one object comes a byte at a time, by the agent's own transport."""

    def __init__(self, store: InMemoryStore, key: str) -> None:
        super().__init__(store)
        self._key = key

    async def get_within(self, key: str, limit: int, etag: str = "") -> bytes | None:
        if key != self._key:
            return await super().get_within(key, limit, etag)
        async with served(_TRICKLING) as server, calling(server) as caller:
            what = f"s3://bucket/{key}"
            return (await caller.client.call(Request("GET", key, what, _HASTY))).body


def trickling(folder: Path, times: Times) -> Told:
    """One input comes a byte at a time; what takes a minute in earnest takes half a second."""
    scene = Scene(folder, times)
    key = scene.bench.layout.input.key(ODD)
    store = TricklingStore(scene.bench.store, key)
    worker = scene.bench.worker(open_store=lambda _: store)
    worker.run()
    return scene.told("one trickling input", worker)


def root_folder(folder: Path, times: Times) -> Told:
    """One command leaves a folder that cannot be removed."""
    with _made_removable(folder):
        leave = f'case "$1" in */{ODD}) mkdir mine; touch mine/file; chattr +i mine/file;; esac'
        scene = Scene(folder, times, f"{leave}; {COPY}")
        worker = scene.bench.worker()
        worker.run()
        left = list((scene.bench.folder / "w1/left-over").glob("*"))
        return scene.told(f"one folder that cannot be removed ({len(left)} moved aside)", worker)


@contextmanager
def _made_removable(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        subprocess.run(["chattr", "-R", "-i", folder], check=False, capture_output=True)


SCENES: tuple[Callable[[Path, Times], Told], ...] = (
    outage, queue_deleted, archived, trickling, root_folder,
)  # fmt: skip
