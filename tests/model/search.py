"""Breadth first through every state that the agents and their bad luck can reach."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from tests.model.agent import CLAIM, RESULT, RUN, Agent, remembered
from tests.model.world import Call, World

from parallelize_agent.queue.claims import SKEW_SECONDS, ClaimRecord
from parallelize_core.result import Result


@dataclass(frozen=True)
class Luck:
    """How much may still go wrong: how often each; and how often a job may outlive its message."""

    crashes: int = 0
    expiries: int = 0
    duplicates: int = 0
    losses: int = 0
    claims: int = 0


@dataclass(frozen=True)
class State:
    """The world, the answers that each execution has had (None: it is over), and the luck left.

    An execution that has not begun has no answers; they begin in the order of their numbers.
    """

    world: World
    executions: tuple[tuple[Any, ...] | None, ...]
    luck: Luck


Step = tuple[str, State]


@dataclass(frozen=True)
class Outcome:
    """How many states there were; what was wrong, if anything, and the shortest way there."""

    states: int
    violation: str | None = None
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Search:
    """A search with so many executions, of which `at_once` at a time."""

    agent: Agent
    luck: Luck
    executions: int
    at_once: int = 2

    def run(self) -> Outcome:
        """Go through all states, or to the first violation."""
        start = State(World().send(), ((),) * self.executions, self.luck)
        came: dict[State, tuple[State, str] | None] = {start: None}
        pending = deque([start])
        next_call = remembered(self.agent)
        while pending:
            state = pending.popleft()
            steps = list(self._steps(state, next_call))
            if wrong := _wrong(state, steps) or self._overlap(state):
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
                yield from _advance(state, number, next_call(number, answers))
        yield from _bad_luck(state)
        if not state.world.messages and not _finished(state.world):
            # The keeper: no message, no result.
            yield "send again", replace(state, world=state.world.send())

    def _overlap(self, state: State) -> str | None:
        """Say if two work although nothing has gone wrong: neither would know of the other."""
        bad = self.luck != Luck(claims=self.luck.claims)
        both = state.world.workers.intersection(_active(state))
        return "two are at work on one job" if len(both) > 1 and not bad else None

    def _may_go_on(self, state: State, number: int) -> bool:
        if state.executions[number]:
            return True
        begun = sum(1 for answers in state.executions if answers is None or answers)
        return number == begun and len(_active(state)) < self.at_once


def _active(state: State) -> list[int]:
    return [number for number, answers in enumerate(state.executions) if answers]


def _advance(state: State, number: int, call: Call | None) -> Iterator[Step]:
    """Go through what can become of an execution's next call."""
    if call is None:
        yield f"{number} ends", _with(state, number, None)
        return
    for world, answer in _answers(state.world, call):
        told = (*(state.executions[number] or ()), answer)
        name = " ".join(map(str, (number, call.name, *call.arguments[:1])))
        after = replace(_with(state, number, told), world=world)
        if call.name != "outlive" or not answer:
            yield name, after
        elif state.luck.claims:
            yield name, replace(after, luck=replace(state.luck, claims=state.luck.claims - 1))


def _answers(world: World, call: Call) -> Iterator[tuple[World, Any]]:
    """Go through what a call can do to the world, and what its caller is told."""
    match call.name, call.arguments:
        case "receive", (holder,):
            yield from _receive(world, holder)
        case "check", (receipt,):
            yield world, world.holds(receipt)
        case "get", (key,):
            yield world, world.find(key)
        case "put", (key, stored, condition):
            after = world.put(key, stored, condition)
            yield after or world, after is not None
        case "remove", (keys,):
            yield world.remove(keys), None
        case "send", (claimed,):
            yield world.send(claimed=claimed), None
        case "delete", (receipt,):
            yield from _delete(world, receipt)
        case name, arguments:
            yield from _told(world, name, *arguments)


def _told(world: World, name: str, *arguments: Any) -> Iterator[tuple[World, Any]]:
    """Go through what is no call, but what an agent knows or says of itself."""
    match name, arguments:
        case "now", ():
            yield world, world.clock
        case "begin", (number,):
            yield replace(world, workers=world.workers | {number}), None
        case "outlive", (number,):
            yield world, False
            yield replace(world, claimant=number), True


def _receive(world: World, holder: int) -> Iterator[tuple[World, Any]]:
    for message in world.messages:
        if not message.holder:
            taken = replace(message, receipt=message.receipt + 1, holder=holder)
            yield world.change(message, taken), (taken.id, taken.receipt, taken.claimed)


def _delete(world: World, receipt: tuple[int, int]) -> Iterator[tuple[World, Any]]:
    """An old receipt may work or not; SQS promises neither."""
    found = next((m for m in world.messages if m.id == receipt[0]), None)
    if found is None or found.receipt != receipt[1]:
        yield world, None
    if found:
        yield world.change(found, None), None


def _bad_luck(state: State) -> Iterator[Step]:
    luck, world = state.luck, state.world
    for number in _active(state):
        if luck.crashes:
            after = _with(state, number, None)
            yield f"{number} crashes", replace(after, luck=replace(luck, crashes=luck.crashes - 1))
    for message in world.messages:
        if message.holder and (luck.expiries or state.executions[message.holder - 1] is None):
            # The lease of an agent that is gone runs out for certain.
            gone = state.executions[message.holder - 1] is None
            left = luck if gone else replace(luck, expiries=luck.expiries - 1)
            shown = world.change(message, replace(message, holder=0))
            yield f"lease of {message.id} ends", replace(state, world=shown, luck=left)
        if luck.losses:
            less = replace(luck, losses=luck.losses - 1)
            yield (
                f"{message.id} is lost",
                replace(state, world=world.change(message, None), luck=less),
            )
    if luck.duplicates and world.messages:
        less = replace(luck, duplicates=luck.duplicates - 1)
        yield "a duplicate comes", replace(state, world=world.send(), luck=less)
    yield from _claim_ends(state)


def _claim_ends(state: State) -> Iterator[Step]:
    """Let time pass until a claim is stale; for certain, if who has made it is gone."""
    world, luck = state.world, state.luck
    stored = world.find(CLAIM)
    if stored is None or world.claimant is None:
        return
    stale_at = ClaimRecord.decode(stored.body).until + SKEW_SECONDS
    gone = state.executions[world.claimant] is None
    if world.clock < stale_at and (luck.expiries or gone):
        left = luck if gone else replace(luck, expiries=luck.expiries - 1)
        yield "the claim ends", replace(state, world=replace(world, clock=stale_at), luck=left)


def _with(state: State, number: int, answers: tuple[Any, ...] | None) -> State:
    executions = list(state.executions)
    executions[number] = answers
    return replace(state, executions=tuple(executions))


def _finished(world: World) -> bool:
    return world.find(RESULT) is not None


def _wrong(state: State, steps: list[Step]) -> str | None:
    if _finished(state.world) and not all(_finished(after.world) for _, after in steps):
        return "a finished job is not finished any more"
    # With messages left, it is only the executions of this search that are used up.
    return None if steps or state.world.messages else _judge(state.world)


def _judge(world: World) -> str | None:
    """Say what is wrong with a world in which nothing will happen any more."""
    record = world.find(RESULT)
    if record is None:
        return "the job has no result"
    result = Result.decode(record.body)
    for output in result.outputs:
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
