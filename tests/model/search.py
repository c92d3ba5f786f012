"""Breadth first through every state that the agents and their bad luck can reach."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from tests.model.agent import (
    CLAIM,
    FAILS,
    MESSAGE,
    RESULT,
    RUN,
    SETBACK,
    SUCCEEDS,
    Agent,
    remembered,
)
from tests.model.scripted import Call, Receipt
from tests.model.world import World

from parallelize_agent.queue.claims import SKEW_SECONDS, ClaimRecord
from parallelize_core.result import Result
from parallelize_core.segment import pack, read_segment


@dataclass(frozen=True)
class Luck:
    """How much may still go wrong: how often each.

    `claims` is how often a job may outlive its message; `failures` how often the command may
    fail, and `setbacks` how often it may be handed back for nobody's fault.
    """

    crashes: int = 0
    expiries: int = 0
    duplicates: int = 0
    losses: int = 0
    claims: int = 0
    failures: int = 0
    setbacks: int = 0

    def less(self, name: str) -> Luck | None:
        """Return what is left after one more of something, None if there was none left."""
        left = getattr(self, name)
        return replace(self, **{name: left - 1}) if left else None


@dataclass(frozen=True)
class State:
    """The world, the answers that each execution has had (None: it is over), and the luck left.

    An execution that has not begun has no answers; those of a worker begin in their order, and
    so do the workers.
    """

    world: World
    executions: tuple[tuple[Any, ...] | None, ...]
    luck: Luck


Step = tuple[str, State]


def shown(world: World) -> Result | None:
    """Return what a reader shows who takes from segments what it can, and fetches the rest."""
    stored = world.find(RESULT)
    if stored is None:
        return None
    return _from_segments(world.filed, stored.etag) or _stored(world)


@cache
def _from_segments(filed: frozenset[bytes], etag: str) -> Result | None:
    found = read_segment(pack(sorted(filed)), {etag})
    return next((result for _, result in found), None)


def _stored(world: World) -> Result | None:
    stored = world.find(RESULT)
    return _without_log(stored.body) if stored else None


@cache
def _without_log(body: bytes) -> Result:
    return Result.decode(body).model_copy(update={"log": ""})


@dataclass(frozen=True)
class Outcome:
    """How many states there were; what was wrong, if anything, and the shortest way there."""

    states: int
    violation: str | None = None
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Search:
    """A search with a number of executions, of which `at_once` at a time."""

    agent: Agent
    luck: Luck
    executions: int
    at_once: int = 2
    shown: Callable[[World], Result | None] = shown

    def run(self) -> Outcome:
        """Go through all states, or to the first violation."""
        world = World().send(MESSAGE.encode())
        start = State(world, ((),) * self.executions, self.luck)
        came: dict[State, tuple[State, str] | None] = {start: None}
        pending = deque([start])
        next_call = remembered(self.agent)
        while pending:
            state = pending.popleft()
            steps = list(self._steps(state, next_call))
            if wrong := self._wrong(state, steps):
                return Outcome(len(came), wrong, tuple(_path(came, state)))
            for name, after in steps:
                if after not in came:
                    came[after] = (state, name)
                    pending.append(after)
        return Outcome(len(came))

    def _steps(
        self, state: State, next_call: Callable[[int, tuple[Any, ...]], Call | None]
    ) -> Iterator[Step]:
        for number, answers in enumerate(state.executions):
            if answers is not None and self._may_go_on(state, number):
                yield from self._advance(state, number, next_call(number, answers))
        yield from self._crashes(state)
        yield from _bad_luck(state)
        if not state.world.messages and not _finished(state.world):
            # The keeper: no message, no result.
            again = MESSAGE.parked().encode()
            yield "send again", replace(state, world=state.world.send(again))

    def _may_go_on(self, state: State, number: int) -> bool:
        if state.executions[number]:
            return True
        # Workers that have done nothing yet are all alike, so only the first of them begins.
        earlier = state.executions[:number]
        workers = self.agent.workers or self.executions
        own = earlier[number % workers :: workers]
        unlike = number >= workers or () not in earlier
        return unlike and () not in own and len(_active(state)) < self.at_once

    def _advance(self, state: State, number: int, call: Call | None) -> Iterator[Step]:
        """Go through what can become of an execution's next call."""
        if call is None:
            yield f"{number} ends", _with(state, number, None)
            return
        name = " ".join(map(str, (number, call.name, *call.arguments[:1])))
        for world, answer, luck in self._answers(state, number, call):
            told = (*(state.executions[number] or ()), answer)
            yield name, replace(_with(state, number, told), world=world, luck=luck)

    def _answers(self, state: State, number: int, call: Call) -> Iterator[tuple[World, Any, Luck]]:
        if call.name == "work":
            yield from _work(state, number, self.agent.worker(number))
            return
        for world, answer in self._told(state.world, call):
            yield world, answer, state.luck

    def _told(self, world: World, call: Call) -> Iterator[tuple[World, Any]]:
        match call.name, call.arguments:
            case "peers", (besides,):
                workers = {self.agent.worker(number) for number in range(self.executions)}
                yield world, bool(workers - besides - world.dead)
            case _:
                yield from _answers(world, call)

    def _crashes(self, state: State) -> Iterator[Step]:
        luck = state.luck.less("crashes")
        for number in _active(state) if luck else ():
            worker, after = self.agent.worker(number), state
            for other in range(self.executions):
                if self.agent.worker(other) == worker:
                    after = _with(after, other, None)
            world = replace(state.world, dead=state.world.dead | {worker})
            yield f"{worker} crashes", replace(after, world=world, luck=luck)

    def _wrong(self, state: State, steps: list[Step]) -> str | None:
        world = state.world
        if _finished(world) and not all(_finished(after.world) for _, after in steps):
            return "a finished job is not finished any more"
        if not world.messages and not _finished(world) and state.luck.losses == self.luck.losses:
            return "the job has neither a message nor a result"
        if _has_failed(world) and len(world.failed_on) < 2 and not world.dead:
            return "the job has failed for good, and only one worker has tried it"
        if self.agent.files and self.shown(world) != _stored(world):
            return "readers of segments see another result than the one stored"
        if self._overlap(state):
            return "two are at work on one job"
        # With messages left, it is only the executions of this search that are used up.
        return None if steps or world.messages else _judge(world)

    def _overlap(self, state: State) -> bool:
        """Whether two work although nothing has gone wrong: neither would know of the other."""
        both = state.world.at_work.intersection(_active(state))
        return len(both) > 1 and self.luck == Luck(claims=self.luck.claims)


def _active(state: State) -> list[int]:
    return [number for number, answers in enumerate(state.executions) if answers]


def _work(state: State, number: int, worker: str) -> Iterator[tuple[World, Any, Luck]]:
    """Go through how the command may end, and whether it outlives its message."""
    world = replace(state.world, at_work=state.world.at_work | {number})
    failing = replace(world, failed_on=world.failed_on | {worker})
    after_claim = state.luck.less("claims")
    for outlive, luck in ((False, state.luck), (True, after_claim)):
        if luck is None:
            continue
        claimant = number if outlive else world.claimant
        yield replace(world, claimant=claimant), (outlive, SUCCEEDS), luck
        if less := luck.less("failures"):
            yield replace(failing, claimant=claimant), (outlive, FAILS), less
        if less := luck.less("setbacks"):
            yield replace(world, claimant=claimant), (outlive, SETBACK), less


def _answers(world: World, call: Call) -> Iterator[tuple[World, Any]]:
    """Go through what a call can do to the world, and what its caller is told."""
    match call.name, call.arguments:
        case "now", ():
            yield world, world.clock
        case "receive", (holder,):
            yield from _receive(world, holder)
        case "holds" | "extend", (receipt,):
            yield world, world.holds(receipt)
        case "get", (key,):
            yield world, world.find(key)
        case "put", (key, stored, condition):
            after = world.put(key, stored, condition)
            yield after or world, after is not None
        case "file", (line,):
            yield replace(world, filed=world.filed | {line}), None
        case "remove", (keys,):
            yield world.remove(keys), None
        case "send", (body,):
            yield world.send(body), None
        case "delete", (receipt,):
            yield from _delete(world, receipt)


def _receive(world: World, holder: int) -> Iterator[tuple[World, Any]]:
    for message in world.messages:
        if not message.holder:
            taken = replace(message, receipt=message.receipt + 1, holder=holder)
            yield world.change(message, taken), (taken.id, taken.receipt, taken.body)


def _delete(world: World, receipt: Receipt) -> Iterator[tuple[World, Any]]:
    """An old receipt may work or not; SQS promises neither."""
    found = next((m for m in world.messages if m.id == receipt[0]), None)
    if found is None or found.receipt != receipt[1]:
        yield world, None
    if found:
        yield world.change(found, None), None


def _bad_luck(state: State) -> Iterator[Step]:
    luck, world = state.luck, state.world
    for message in world.messages:
        if message.holder:
            # The lease of an agent that is gone runs out for certain.
            gone = state.executions[message.holder - 1] is None
            if left := luck if gone else luck.less("expiries"):
                shown = world.change(message, replace(message, holder=0))
                yield f"lease of {message.id} ends", replace(state, world=shown, luck=left)
        if less := luck.less("losses"):
            without = world.change(message, None)
            yield f"{message.id} is lost", replace(state, world=without, luck=less)
    if less := luck.less("duplicates"):
        for body in sorted({message.body for message in world.messages}):
            yield "a duplicate comes", replace(state, world=world.send(body), luck=less)
    yield from _claim_ends(state)


def _claim_ends(state: State) -> Iterator[Step]:
    """Let time pass until a claim is stale; for certain, if who has made it is gone."""
    world, luck = state.world, state.luck
    stored = world.find(CLAIM)
    if stored is None or world.claimant is None:
        return
    stale_at = ClaimRecord.decode(stored.body).until + SKEW_SECONDS
    left = luck if state.executions[world.claimant] is None else luck.less("expiries")
    if left and world.clock < stale_at:
        yield "the claim ends", replace(state, world=replace(world, clock=stale_at), luck=left)


def _with(state: State, number: int, answers: tuple[Any, ...] | None) -> State:
    executions = list(state.executions)
    executions[number] = answers
    return replace(state, executions=tuple(executions))


def _finished(world: World) -> bool:
    return world.find(RESULT) is not None


def _has_failed(world: World) -> bool:
    record = world.find(RESULT)
    return record is not None and _decoded(record.body).status == "failed"


_decoded = cache(Result.decode)


def _judge(world: World) -> str | None:
    """Say what is wrong with a world in which nothing will happen any more."""
    record = world.find(RESULT)
    if record is None:
        return "the job has no result"
    for output in _decoded(record.body).outputs:
        stored = world.find(RUN.output.key(output.key))
        if stored is None or stored.etag != output.etag:
            return "the result tells of an output that is not the one stored"
    return None


def _path(came: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    steps = []
    while (before := came[state]) is not None:
        state, step = before
        steps.append(step)
    return steps[::-1]
