"""Breadth first through what becomes of a merge: lookers that put it on the queue, and its workers.

What runs is the shipped code: `Merging`, with which a worker looks for the last result and puts the
merge on the queue, and all stages of a worker that receives it. The jobs before it are not run here
(the other search does that): a result of theirs comes, or is taken away as by `retry`, in one step.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from tests.model import agent as one_job
from tests.model.agent import CONFIG, LAYOUT, Parts, Work
from tests.model.scripted import (
    Asked,
    Call,
    NotModelledError,
    Script,
    ScriptedQueue,
    ScriptedStore,
    finish,
)
from tests.model.search import Luck, Outcome, _answers, _path
from tests.model.world import Stored, World

from parallelize_agent.job.job import Received
from parallelize_agent.job.run_source import RunSource
from parallelize_agent.job.scratch import JobFolder
from parallelize_agent.job.stage_in import StageIn
from parallelize_agent.queue.merging import Merging, Standing, look
from parallelize_core.errors import ChangedError, MissingError
from parallelize_core.job import JobMessage
from parallelize_core.manifest import Entry, encode_part
from parallelize_core.merge import MERGE, ListedOutput, MergeRecord, digest_of, is_current
from parallelize_core.result import Output, Result
from parallelize_core.run import Run, Then
from parallelize_core.store import IF_ABSENT, AsyncStore, ObjectInfo, Store

T = TypeVar("T")

THEN = Then(command=("m",))
RUN = one_job.RUN.model_copy(update={"v": 2, "then": THEN})
PLACE = LAYOUT.result(MERGE)
JOBS = ("a", "b")


def job_result(key: str, version: int) -> bytes:
    """Return the result of a job's execution number `version`."""
    name = f"{key}{version}"
    output = Output(key=key, size=0, sha256=name, etag=name)
    return Result(
        run="r", key=key, attempt=1, worker="w", started_at="", finished_at="",
        status="succeeded", outputs=(output,),
    ).encode()  # fmt: skip


def start_world() -> World:
    """Return a run whose jobs have no results yet."""
    part = encode_part(Entry(key=key, size=0, etag="") for key in JOBS)
    world = World().put(LAYOUT.manifest_part(0), Stored(part), IF_ABSENT)
    assert world
    return world


class SyncStore:
    """A bucket for calls that block (see Store): each is one step, but for the fixed manifest."""

    bucket = "bucket"

    def __init__(self, script: Script) -> None:
        self._script = script
        self._fixed = dict(start_world().objects)

    def get(self, key: str) -> bytes:
        """Return an object's content."""
        stored = self._fixed.get(key) or self._script.ask("get", key)
        if stored is None:
            raise MissingError(key)
        body: bytes = stored.body
        return body

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object."""
        stored = self._script.ask("get", key)
        return ObjectInfo(key, len(stored.body), stored.etag) if stored else None

    def list(self, prefix: str, *, folder_only: bool = False) -> Iterator[ObjectInfo]:
        """List objects."""
        if prefix == LAYOUT.manifest.prefix:
            return iter([ObjectInfo(key, 0, "") for key in self._fixed])
        found: Iterable[tuple[str, str]] = self._script.ask("list", prefix)
        return iter([ObjectInfo(key, 0, etag) for key, etag in found])


class PromptStageIn(StageIn):
    """Has the files of a merge at once: what is fetched is not part of the model."""

    async def _inputs(
        self, received: Received, run: Run, folder: JobFolder
    ) -> tuple[bytes | None, int]:
        return None, received.message.size


class PromptMerging(Merging):
    """Reads results one after the other, which needs no event loop."""

    async def _read(self, versions: Sequence[tuple[str, str]]) -> Sequence[bytes]:
        return [await self._version(*one) for one in versions]


class MergeStore(ScriptedStore):
    """A bucket whose results are read in one version."""

    async def get_within(self, key: str, limit: int, etag: str = "") -> bytes | None:
        """Return an object's content, if it is this version."""
        stored: Stored | None = self._script.ask("get", key)
        if stored is None:
            raise MissingError(key)
        if stored.etag != etag:
            raise ChangedError(key)
        return stored.body


async def at_once(call: Callable[..., T], *args: Any) -> T:
    """Make a call that blocks, without a thread."""
    return call(*args)


class _RunJson:
    async def get(self, _: str) -> bytes:
        return RUN.encode()


@dataclass(frozen=True)
class MergeParts:
    """The shipped classes; weakened variants replace one."""

    merging: type[Merging] = PromptMerging
    store: type[MergeStore] = MergeStore
    parts: Parts = field(default_factory=lambda: Parts(stage_in=PromptStageIn))


def make_merge_work(folder: Path, workers: int) -> Work:
    """Return what the workers of a merge need, of which each leaves another content."""
    run = RunSource(cast("AsyncStore", _RunJson()), LAYOUT, math.inf)
    finish(run.refresh())
    return replace(one_job.make_work(folder, workers, 1), run=run)


@dataclass(frozen=True)
class Actors:
    """Who there is: first `lookers`, then `workers` that execute the merge."""

    work: Work
    lookers: int
    workers: int
    shipped: MergeParts = MergeParts()

    def next_call(self, number: int, answers: tuple[Any, ...]) -> Call | None:
        """Return what an actor wants next after these answers; None if it is over."""
        script = Script(answers)
        try:
            if number < self.lookers:
                finish(self._look(script))
            else:
                agent = one_job.Agent(self.work, parts=self.shipped.parts)
                finish(one_job._Execution(agent, number - self.lookers, script).run())
        except Asked as asked:
            return asked.call
        return None

    async def _look(self, script: Script) -> None:
        """Do what a worker does that finds the queue empty (see `Receiver`)."""
        script.ask("begin")
        store = self.shipped.store(script, LAYOUT.attempts.prefix)
        queue = ScriptedQueue(script)
        merging = self.shipped.merging(
            CONFIG, queue, cast("AsyncStore", store), cast("Store", SyncStore(script)),
            self.work.run,            at_once,
        )  # fmt: skip
        standing = await merging.put_if_due()
        # Several samples of an empty queue come before this in the shipped receiver.
        if standing is Standing.LEFT and script.ask("empty"):
            await merging.send_again()


@dataclass(frozen=True)
class State:
    """The world, the answers of each actor (None: it is over), the luck, each job's version.

    A job without its result will have its next one in some later step. `redone` says how often a
    result may still be taken away, `put` are the messages by which the merge was put on the queue.
    """

    world: World
    actors: tuple[tuple[Any, ...] | None, ...]
    luck: Luck
    versions: tuple[int, ...] = (0,) * len(JOBS)
    redone: int = 0
    put: tuple[str, ...] = ()
    again: bool = False
    """Whether a merge was found without message and result, when nobody was about to send it."""


@dataclass(frozen=True)
class MergeSearch:
    """A search with some actors, of which two are active at a time."""

    actors: Actors
    luck: Luck
    redone: int = 0

    def run(self) -> Outcome:
        """Go through all states, or to the first violation."""
        count = self.actors.lookers + self.actors.workers
        start = State(start_world(), ((),) * count, self.luck, redone=self.redone)
        came: dict[Any, Any] = {start: None}
        pending = deque([start])
        next_call = cache(self.actors.next_call)
        while pending:
            state = pending.popleft()
            steps = list(self._steps(state, next_call))
            if wrong := self._wrong(state, bool(steps)):
                return Outcome(len(came), wrong, tuple(_path(came, state)))  # type: ignore[arg-type]
            for name, after in steps:
                if after not in came:
                    came[after] = (state, name)
                    pending.append(after)
        return Outcome(len(came))

    def _steps(self, state: State, next_call: Callable[..., Call | None]) -> Iterator[Any]:
        active = [n for n, answers in enumerate(state.actors) if answers]
        for number, answers in enumerate(state.actors):
            if answers is None or not (answers or self._may_begin(state, number, active)):
                continue
            yield from self._advance(state, number, next_call(number, answers))
        if less := state.luck.less("crashes"):
            for number in active:
                yield f"{number} crashes", replace(_with(state, number, None), luck=less)
        yield from self._luck(state)
        yield from _jobs(state)
        if not active and not state.world.messages and not _done(state.world):
            yield from _leader(state, next_call)

    def _may_begin(self, state: State, number: int, active: list[int]) -> bool:
        first = 0 if number < self.actors.lookers else self.actors.lookers
        return len(active) < 2 and () not in state.actors[first:number]

    def _advance(self, state: State, number: int, call: Call | None) -> Iterator[Any]:
        if call is None:
            yield f"{number} ends", _with(state, number, None)
            return
        name = " ".join(map(str, (number, call.name, *call.arguments[:1])))
        for world, answer in _told(state.world, call):
            told = (*(state.actors[number] or ()), answer)
            after = replace(_with(state, number, told), world=world)
            if call.name == "send" and number < self.actors.lookers:
                after = _put(after, call.arguments[0])
            yield name, after

    def _luck(self, state: State) -> Iterator[Any]:
        for message in state.world.messages:
            if not message.holder:
                continue
            gone = state.actors[self.actors.lookers + message.holder - 1] is None
            if left := state.luck if gone else state.luck.less("expiries"):
                world = state.world.change(message, replace(message, holder=0))
                yield f"lease of {message.id} ends", replace(state, world=world, luck=left)
        if less := state.luck.less("duplicates"):
            for body in sorted({message.body for message in state.world.messages}):
                yield "a duplicate comes", replace(state, world=state.world.send(body), luck=less)

    def _wrong(self, state: State, more: bool) -> str | None:
        world = state.world
        if state.again and self.luck == Luck():
            return "a merge has lost its message although nothing went wrong"
        if len(set(state.put)) < len(state.put):
            return "a merge was put on the queue twice"
        if _shown(world) and _listed(world) != _outputs(world):
            return "the merge is shown as done, and is not over the results that are there"
        if more or world.messages:
            return None
        if not _done(world):
            return "every job has its result, and the merge is not done"
        return None if _whole(world) else "the merge's result tells of an output that is not stored"


def _leader(state: State, next_call: Callable[..., Call | None]) -> Iterator[Any]:
    """Let a worker look that nothing happens to: there always is one in the end."""
    answers: tuple[Any, ...] = ()
    after = state
    while call := next_call(0, answers):
        [(world, answer)] = _told(after.world, call)
        after = replace(after, world=world)
        if call.name == "send":
            body = call.arguments[0]
            after = replace(_put(after, body), again=JobMessage.decode(body).claimed)
        answers = (*answers, answer)
    if after != state:
        yield "the leader looks", after


def _told(world: World, call: Call) -> Iterator[tuple[World, Any]]:
    match call.name, call.arguments:
        case "begin", ():
            yield world, None
        case "empty", ():
            yield world, not world.messages
        case "list", (prefix,):
            found = tuple((key, s.etag) for key, s in world.objects if key.startswith(prefix))
            yield world, found
        case "work", _:
            yield world, (False, one_job.SUCCEEDS)
        case "peers", _:
            raise NotModelledError("peers")
        case _:
            yield from _answers(world, call)


def _jobs(state: State) -> Iterator[Any]:
    """Let a job's result come, or be taken away."""
    for place, key in enumerate(JOBS):
        result = LAYOUT.result(key)
        if state.world.find(result) is None:
            version = state.versions[place] + 1
            stored = Stored(job_result(key, version))
            world = state.world.put(result, stored, IF_ABSENT)
            assert world
            versions = (*state.versions[:place], version, *state.versions[place + 1 :])
            yield f"{key} has its result", replace(state, world=world, versions=versions)
        elif state.redone:
            world = state.world.remove((result,))
            yield f"{key} is retried", replace(state, world=world, redone=state.redone - 1)


def _put(state: State, body: str) -> State:
    """Take note of a message by which the merge was put on the queue, and not sent again."""
    return state if JobMessage.decode(body).claimed else replace(state, put=(*state.put, body))


def _with(state: State, number: int, answers: tuple[Any, ...] | None) -> State:
    actors = list(state.actors)
    actors[number] = answers
    return replace(state, actors=tuple(actors))


class _Reader:
    """A bucket as it is in one world."""

    bucket = "bucket"

    def __init__(self, world: World) -> None:
        self._world = world

    def get(self, key: str) -> bytes:
        if (stored := self._world.find(key)) is None:
            raise MissingError(key)
        return stored.body

    def head(self, key: str) -> ObjectInfo | None:
        stored = self._world.find(key)
        return ObjectInfo(key, 0, stored.etag) if stored else None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        objects = self._world.objects
        return (ObjectInfo(key, 0, s.etag) for key, s in objects if key.startswith(prefix))


@cache
def _done(world: World) -> bool:
    return look(cast("Store", _Reader(world)), LAYOUT, THEN).standing is Standing.DONE


@cache
def _shown(world: World) -> bool:
    """Whether a reader shows the merge as done (see `runs.merge` of the client)."""
    stored, record = world.find(PLACE), world.find(LAYOUT.merge)
    if stored is None or record is None or len(_results(world)) < len(JOBS):
        return False
    digest = digest_of(LAYOUT, ((key, result.etag) for key, result in _results(world)))
    return is_current(Result.decode(stored.body), MergeRecord.decode(record.body), digest)


def _results(world: World) -> list[tuple[str, Stored]]:
    prefix = LAYOUT.results.prefix
    return [(key, s) for key, s in world.objects if key.startswith(prefix) and key != PLACE]


def _outputs(world: World) -> set[str]:
    results = (Result.decode(stored.body) for _, stored in _results(world))
    return {output.etag for result in results for output in result.outputs}


def _listed(world: World) -> set[str]:
    """Return what the merge that is shown was given."""
    result = world.find(PLACE)
    assert result
    listed = world.find(LAYOUT.merge_list(Result.decode(result.body).input_etag))
    assert listed
    lines = listed.body.splitlines()
    return {ListedOutput.model_validate_json(line).etag for line in lines}


def _whole(world: World) -> bool:
    stored = world.find(PLACE)
    assert stored
    for output in Result.decode(stored.body).outputs:
        there = world.find(RUN.output.key(output.key))
        if there is None or there.etag != output.etag:
            return False
    return True
