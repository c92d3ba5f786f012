"""Checkpoints in every order of the calls of an attempt that loses its lease and of the next one.

What runs is the shipped code: `Checkpoints.find`, `keep_last` and `drop`. Each call to the bucket
is a step, and a search goes through every order of the steps of both, with a crash of either
before any. The former has its lease until the next begins; what it has asked for happens late.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import pytest

from parallelize_agent.job.checkpoints import MARKER, Checkpoint, Checkpoints, Kept
from parallelize_agent.job.scratch import JobFolder
from parallelize_agent.job.snapshot import Snapshot
from parallelize_agent.queue.leases import Lease, LeaseLostError
from parallelize_core.job import JobMessage
from parallelize_core.layout import Location, RunLayout
from parallelize_core.run import Run
from parallelize_core.store import ALWAYS, AsyncStore, Condition, ObjectInfo
from parallelize_core.testing import InMemoryStore

LAYOUT = RunLayout(Location("bucket"), "r")
FOLDER = LAYOUT.checkpoint("x")
MESSAGE = JobMessage(run="r", key="x", size=0, resumes=True)
RUN = Run(
    name="r", command=("c",), input=LAYOUT.input, output=LAYOUT.output, created_at="2026-01-01"
)  # fmt: skip
T = TypeVar("T")


class Turns:
    """Who waits for the answer to a call; the search says whose comes next."""

    def __init__(self) -> None:
        self.waiting: dict[str, asyncio.Future[None]] = {}

    async def wait(self, who: str) -> None:
        self.waiting[who] = asyncio.get_running_loop().create_future()
        try:
            await self.waiting[who]
        finally:
            del self.waiting[who]


class SteppedStore:
    """One attempt's way to the bucket, whose calls happen as a whole when it is their turn."""

    def __init__(self, store: InMemoryStore, turns: Turns, who: str) -> None:
        self._store, self._turns, self._who = store, turns, who

    async def _turn(self, call: Callable[[], T]) -> T:
        await self._turns.wait(self._who)
        return call()

    async def put(self, key: str, body: bytes, condition: Condition = ALWAYS) -> str | None:
        return await self._turn(lambda: self._store.put(key, body, condition))

    async def put_file(
        self, key: str, file: IO[bytes], condition: Condition = ALWAYS
    ) -> str | None:
        return await self._turn(lambda: self._store.put_file(key, file, condition))

    async def get_within(self, key: str, limit: int, etag: str = "") -> bytes | None:
        return await self._turn(lambda: self._store.get_within(key, limit, etag))

    async def get_file(
        self, key: str, path: Path, etag: str = "", size: int = 0, sha256: str = ""
    ) -> int:
        return await self._turn(lambda: self._store.get_file(key, path, etag))

    async def head(self, key: str) -> ObjectInfo | None:
        return await self._turn(lambda: self._store.head(key))

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        for item in await self._turn(lambda: list(self._store.list(prefix))):
            yield item

    async def delete(self, keys: Iterable[str]) -> None:
        found = list(keys)
        await self._turn(lambda: self._store.delete(found))


class AtOnce(Executor):
    """A thread that has done everything as soon as it is asked for."""

    def submit(self, call: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        done.set_result(call(*args, **kwargs))
        return done


class Terms:
    """A lease that somebody else ends."""

    held = True

    def check(self) -> None:
        if not self.held:
            raise LeaseLostError("x")


class Attempt:
    """One attempt at the job: what it leaves is its own name."""

    def __init__(self, store: AsyncStore, folder: Path, who: str) -> None:
        self.lease = Terms()
        self.checkpoints = Checkpoints(store, LAYOUT, who, AtOnce())
        root = folder / who / "0"
        root.parent.mkdir(parents=True, exist_ok=True)
        self.kept = Kept(RUN, MESSAGE, cast("Lease", self.lease), JobFolder(str(root), "x"))
        path = folder / f"{who}.tar"
        path.write_text(who)
        checksum = hashlib.sha256(who.encode()).hexdigest()
        self.snapshot = Snapshot(path, len(who), checksum, who)
        self.stored = False

    async def keep(self) -> None:
        with suppress(LeaseLostError):
            self.stored = await self.checkpoints.keep_last(self.kept, self.snapshot)

    def restored(self) -> str:
        """Return whose checkpoint was found."""
        if self.kept.restore is None:
            return ""
        path, checksum = self.kept.restore
        content = path.read_text()
        assert hashlib.sha256(content.encode()).hexdigest() == checksum, "not whole"
        return content


class Scene:
    """A former attempt that had `before` stored, or nothing, and the next one, which may `end`."""

    def __init__(self, folder: Path, *, before: bool, end: bool) -> None:
        self.store, self.turns, self.end = InMemoryStore(), Turns(), end
        self.folder, self._before = folder, before
        self.former, self.next = self._attempt("former"), self._attempt("next")

    def _attempt(self, who: str) -> Attempt:
        return Attempt(
            cast("AsyncStore", SteppedStore(self.store, self.turns, who)), self.folder, who
        )

    def found(self) -> str:
        """Return whose checkpoint another attempt would find now, with nobody in between."""
        marker = FOLDER.key(MARKER)
        if self.store.head(marker) is None:
            return ""
        checkpoint = Checkpoint.decode(self.store.get(marker))
        archive = FOLDER.key(checkpoint.name)
        head = self.store.head(archive)
        if head is None or head.etag != checkpoint.etag:
            return ""
        return self.store.get(archive).decode()

    async def prepare(self) -> None:
        if self._before:
            earlier = Attempt(cast("AsyncStore", Direct(self.store)), self.folder, "earlier")
            await earlier.keep()
            self.former.kept.marker = earlier.kept.marker
            self.former.kept.archive_key = earlier.kept.archive_key

    async def go_on(self) -> None:
        """Do what the next attempt does; the lease of the former has ended by then."""
        await self.turns.wait("next")
        self.former.lease.held = False
        await self.next.checkpoints.find(self.next.kept)
        await self.next.keep()
        if self.end:
            await self.next.checkpoints.drop("x", self.next.kept)


class Direct(SteppedStore):
    """A way to the bucket on which nobody has to wait."""

    def __init__(self, store: InMemoryStore) -> None:
        super().__init__(store, Turns(), "")

    async def _turn(self, call: Callable[[], T]) -> T:
        return call()


async def run(scene: Scene, choices: list[int], seen: list[int]) -> None:
    """Go one way through the scene: `seen` gets how many ways there were at each step."""
    await scene.prepare()
    plans: dict[str, Coroutine[Any, Any, None]] = {
        "former": scene.former.keep(),
        "next": scene.go_on(),
    }
    tasks = {who: asyncio.create_task(plan) for who, plan in plans.items()}
    whole = bool(scene.found())
    while True:
        for _ in range(8):
            await asyncio.sleep(0)
        ways = [(who, crash) for who in sorted(scene.turns.waiting) for crash in (False, True)]
        if not ways:
            break
        who, crash = ways[choices[len(seen)] if len(seen) < len(choices) else 0]
        seen.append(len(ways))
        if crash:
            tasks[who].cancel()
        else:
            scene.turns.waiting[who].set_result(None)
        for _ in range(8):
            await asyncio.sleep(0)
        whole = check(scene, whole)
    for task in tasks.values():
        with suppress(asyncio.CancelledError):
            await task
    if scene.next.stored and not scene.end:
        assert scene.found() == "next", "the former's is in its place"
    assert scene.next.restored() in {"", "earlier", "former"}


def check(scene: Scene, whole: bool) -> bool:
    """Look at what a third attempt would find now; answer whether that is a checkpoint."""
    found = scene.found()
    assert found in {"", "earlier", "former", "next"}
    if scene.next.stored and not scene.end:
        assert found == "next", "an older one is found"
    assert found or not whole or scene.end, "a checkpoint was there, and is there no more"
    return bool(found)


def ways(try_one: Callable[[list[int], list[int]], None]) -> Iterator[list[int]]:
    """Go through every way, by doing each from its start."""
    choices: list[int] = []
    while True:
        seen: list[int] = []
        try_one(choices, seen)
        yield choices
        choices = choices + [0] * (len(seen) - len(choices))
        while choices and choices[-1] + 1 >= seen[len(choices) - 1]:
            choices.pop()
        if not choices:
            return
        choices[-1] += 1


@pytest.mark.parametrize("before", [False, True], ids=["the first", "with one before"])
@pytest.mark.parametrize("end", [False, True], ids=["goes on", "ends"])
def test_a_checkpoint_is_whole_and_never_an_older_one(
    tmp_path: Path, before: bool, end: bool
) -> None:
    def try_one(choices: list[int], seen: list[int]) -> None:
        asyncio.run(run(Scene(tmp_path, before=before, end=end), choices, seen))

    assert sum(1 for _ in ways(try_one)) > 50


class MarkerAlways(Checkpoints):
    """Writes its marker whatever is there."""

    async def _mark(self, kept: Kept, key: str, content: bytes) -> None:
        kept.lease.check()
        kept.marker = await self.store.put(key, content)


class MarkerFirst(Checkpoints):
    """Writes the marker before the archive that it names."""

    async def _store(self, kept: Kept, made: Snapshot) -> bool:
        name = f"{self.worker}.tar"
        marker = Checkpoint(
            run="r", key="x", identity=kept.identity, name=name, etag="", size=made.size,
            sha256=made.sha256, worker=self.worker, stored_at=self.now(),
        )  # fmt: skip
        await self._mark(kept, FOLDER.key(MARKER), marker.encode())
        with made.path.open("rb") as file:
            await self.store.put_file(FOLDER.key(name), file)
        return True


@pytest.mark.parametrize("weakened", [MarkerAlways, MarkerFirst])
def test_without_a_guard_the_search_finds_what_is_wrong(
    tmp_path: Path, weakened: type[Checkpoints]
) -> None:
    def try_one(choices: list[int], seen: list[int]) -> None:
        scene = Scene(tmp_path, before=True, end=False)
        for attempt in (scene.former, scene.next):
            good = attempt.checkpoints
            attempt.checkpoints = weakened(good.store, LAYOUT, good.worker, AtOnce())
        asyncio.run(run(scene, choices, seen))

    with pytest.raises(AssertionError):
        list(ways(try_one))
