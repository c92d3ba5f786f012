"""A run in an in-memory store, written the way prep, enqueue and agents write it."""

from __future__ import annotations

from dataclasses import dataclass, field

from parallelize.queues import RunCounts
from parallelize.runs.state.snapshot import Reader, Snapshot
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.layout import Location, RunLayout
from parallelize_core.manifest import Cursor, Entry, encode_part
from parallelize_core.result import Attempt, Cause, Result
from parallelize_core.run import Run
from parallelize_core.testing import InMemoryStore

NOW = 1_800_000_000.0
LAYOUT = RunLayout(Location("bucket"), "scans")


@dataclass
class Scene:
    """What the tests put into the bucket; `queue` is what SQS would count."""

    store: InMemoryStore = field(default_factory=InMemoryStore)
    queue: RunCounts | None = None
    parts: int = 0
    layout: RunLayout = LAYOUT

    def __post_init__(self) -> None:
        self.describe()

    def describe(self, paused: str = "") -> None:
        run = Run(
            name="scans", command=("./job.sh",), input=LAYOUT.input, output=LAYOUT.output,
            created_at="2027-01-15T08:00:00Z", paused=paused,
        )  # fmt: skip
        self.store.put(LAYOUT.run_json, run.encode())

    def prepare(self, *keys: str, sent: int | None = None) -> None:
        entries = [Entry(key=key, size=1, etag="e") for key in keys]
        self.store.put(LAYOUT.manifest_part(self.parts), encode_part(entries))
        cursor = Cursor(sent=len(keys) if sent is None else sent)
        if cursor.sent:
            self.store.put(LAYOUT.cursor(self.parts), cursor.model_dump_json().encode())
        self.parts += 1

    def finish(self, key: str, **changes: object) -> None:
        self.store.put(LAYOUT.result(key), result(key, **changes).encode())

    def fail(self, key: str, **changes: object) -> Result:
        made = failure(key, **changes)
        self.store.put(LAYOUT.failure(key), b"")
        self.store.put(LAYOUT.result(key), made.encode())
        return made

    def attempt(self, key: str, number: int, **changes: object) -> None:
        made = Attempt.model_validate({
            **failure(key).model_dump(exclude={"status"}), "attempt": number, **changes,
        })  # fmt: skip
        self.store.put(LAYOUT.attempt(key, number, made.worker, made.started_at), made.encode())

    def beat(self, worker: str, state: WorkerState = WorkerState.BUSY, **changes: object) -> None:
        made = heartbeat(worker, state, **changes)
        self.store.put(LAYOUT.heartbeat(worker), made.encode())

    def reader(self) -> Reader:
        return Reader(self.store, LAYOUT, lambda _: lambda: self.queue, clock=lambda: NOW)

    def snapshot(self) -> Snapshot:
        return self.reader().snapshot()


def heartbeat(worker: str, state: WorkerState = WorkerState.BUSY, **changes: object) -> Heartbeat:
    return Heartbeat.model_validate({
        "worker": worker, "state": state, "started": NOW - 600, "seen": NOW - 5,
        "interval_seconds": 30, "slots": 4, "type": "c7i.xlarge", "zone": "euw1-az2", **changes,
    })  # fmt: skip


def result(key: str, **changes: object) -> Result:
    return Result.model_validate({
        "run": "scans", "key": key, "attempt": 1, "worker": "i-1", "status": "succeeded",
        "started_at": "2027-01-15T08:00:00.000Z", "finished_at": "2027-01-15T08:00:01.000Z",
        **changes,
    })  # fmt: skip


def failure(key: str, **changes: object) -> Result:
    return result(key, **{
        "status": "failed", "cause": Cause.COMMAND, "exit_code": 1, "attempt": 3,
        "message": "exit 1", "stderr_tail": "Traceback\nValueError: bad header\n", **changes,
    })  # fmt: skip
