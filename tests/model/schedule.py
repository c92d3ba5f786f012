"""Blocking code of several actors, in every order of its calls that has few changes of the actor.

An actor runs in a thread of its own, which waits before each call of its store until it has its
turn. So one call is made at a time, and a list of turns repeats what happened.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

CALLS = ("get", "get_file", "head", "put", "put_file", "delete", "delete_version", "copy_from")
LISTINGS = ("list", "folders")


class CrashError(Exception):
    """The actor ends before the call."""


@dataclass
class Actor:
    """One actor at work; `crashes_at` numbers the call before which it dies; -1 if it lives."""

    name: str
    work: Callable[[Any], None]
    crashes_at: int = -1
    done: bool = False
    crashed: bool = False
    calls: int = 0
    error: BaseException | None = None
    _turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _waits: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def begin(self, store: Any) -> None:
        """Run up to the first call."""
        threading.Thread(target=self._run, args=(store,), daemon=True).start()
        self._waits.acquire()

    def step(self) -> None:
        """Make one call, and run up to the next."""
        self._turn.release()
        self._waits.acquire()

    def pass_through(self) -> None:
        """Wait for the turn; called before each call."""
        self._waits.release()
        self._turn.acquire()
        self.calls += 1
        if self.calls - 1 == self.crashes_at:
            raise CrashError

    def _run(self, store: Any) -> None:
        try:
            self.work(ScheduledStore(store, self))
        except CrashError:
            self.crashed = True
        except BaseException as error:
            self.error = error
        self.done = True
        self._waits.release()


class ScheduledStore:
    """A store each call of which waits for the turn of its actor."""

    def __init__(self, store: Any, actor: Actor) -> None:
        self._store = store
        self._actor = actor

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in {*CALLS, *LISTINGS}:
            return found

        def call(*args: Any, **named: Any) -> Any:
            self._actor.pass_through()
            made = found(*args, **named)
            return iter(list(made)) if name in LISTINGS else made

        return call


@dataclass(frozen=True)
class Plan:
    """Who begins, and after how many calls of the one at work who goes on: (calls, index)."""

    changes: Sequence[tuple[int, int]]


def run(actors: Sequence[Actor], store: Any, plan: Plan, check: Callable[[], None]) -> None:
    """Run the actors by the plan, then each that is left to its end; `check` after each call.

    Raises what an actor has raised, unless it was to crash.
    """
    for actor in actors:
        actor.begin(store)
    for calls, index in plan.changes:
        for _ in range(calls):
            _step(actors[index], check)
    for actor in actors:
        while not actor.done:
            _step(actor, check)
    for actor in actors:
        if actor.error:
            raise actor.error


def _step(actor: Actor, check: Callable[[], None]) -> None:
    if not actor.done:
        actor.step()
        check()


def plans(lengths: Mapping[int, int], changes: int) -> Iterator[Plan]:
    """Give all orders in which the turn changes so often: each actor gives it up after any call."""
    yield Plan(())
    if changes:
        for index, length in lengths.items():
            for calls in range(1, length + 1):
                left = {**lengths, index: length - calls}
                for rest in plans({i: n for i, n in left.items() if n}, changes - 1):
                    if not (rest.changes and rest.changes[0][1] == index):
                        yield Plan(((calls, index), *rest.changes))
