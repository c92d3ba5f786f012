"""The queue, the bucket and the clock as the shipped code sees them: each call is one step."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from tests.model.world import Stored

from parallelize_agent.queue.leases import Lease, LeaseKeeper
from parallelize_core.errors import MissingError
from parallelize_core.queue import Message, QueueCounts
from parallelize_core.store import ALWAYS, Condition, ObjectInfo

T = TypeVar("T")

NOW, LATE = 0.0, 1e9
"""The time of a lease that holds, and of one that does not."""

Receipt = tuple[int, int]
"""A receive: the message's id, and how often it was received."""


@dataclass(frozen=True)
class Call:
    """What an agent wants of the world next: `name` and arguments, all hashable."""

    name: str
    arguments: tuple[Any, ...] = ()


class Asked(BaseException):
    """Raised in the middle of an agent's code when it needs an answer that is not there yet.

    No Exception: the code under test must not catch it.
    """

    def __init__(self, call: Call) -> None:
        self.call = call


class NotModelledError(BaseException):
    """The code does what the model has no answer for. No Exception, for the same reason."""


def finish(steps: Coroutine[Any, Any, T]) -> T:
    """Run shipped code that never has to wait: every call is answered at once, or raises Asked."""
    try:
        steps.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise NotModelledError("the code waits for something that is no call")


class Script:
    """Answers to the first calls of an agent; the next one raises Asked."""

    def __init__(self, answers: tuple[Any, ...]) -> None:
        self._answers = iter(answers)

    def ask(self, name: str, *arguments: Any) -> Any:
        """Return the answer to a call, or raise Asked."""
        for answer in self._answers:
            return answer
        raise Asked(Call(name, arguments))


def to_receipt(receipt: str) -> Receipt:
    """Read the receipt handle of a message."""
    number, _, count = receipt.partition("/")
    return int(number), int(count)


class ScriptedQueue:
    """A queue of which every call is one step of the model (see AsyncQueue)."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def send(self, bodies: Sequence[str], delay_seconds: int = 0) -> None:
        """Send messages; a delay may be of any length here, so it says nothing."""
        for body in bodies:
            self._script.ask("send", body)

    async def receive(self, limit: int, wait_seconds: int, lease_seconds: int) -> list[Message]:
        """Executions begin with a message."""
        raise NotModelledError("receive")

    async def extend(self, receipts: Sequence[str], lease_seconds: int) -> list[str]:
        """Renew leases."""
        return [text for text in receipts if not self._script.ask("extend", to_receipt(text))]

    async def delete(self, receipts: Sequence[str]) -> None:
        """Acknowledge messages."""
        for receipt in receipts:
            self._script.ask("delete", to_receipt(receipt))

    async def counts(self) -> QueueCounts:
        """Nothing in the model counts."""
        raise NotModelledError("counts")


class DeadLetters(ScriptedQueue):
    """The other queue, which nobody in the model reads."""

    async def send(self, bodies: Sequence[str], delay_seconds: int = 0) -> None:
        """Keep dead letters."""


class ScriptedStore:
    """A bucket of which every call is one step of the model (see AsyncStore).

    The input never changes, and nobody in the model reads what is below `unread`: such calls are
    answered at once.
    """

    bucket = "bucket"

    def __init__(self, script: Script, unread: str) -> None:
        self._script = script
        self._unread = unread

    async def get(self, key: str) -> bytes:
        """Return an object's content."""
        stored: Stored | None = self._script.ask("get", key)
        if stored is None:
            raise MissingError(key)
        return stored.body

    async def head(self, key: str) -> ObjectInfo | None:
        """Describe an object."""
        stored: Stored | None = self._script.ask("get", key)
        if stored is None:
            return None
        return ObjectInfo(key, len(stored.body), stored.etag, dict(stored.metadata))

    async def put(
        self,
        key: str,
        body: bytes,
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """Write an object."""
        stored = Stored(body, tuple(sorted((metadata or {}).items())))
        done: bool = key.startswith(self._unread) or self._script.ask("put", key, stored, condition)
        return stored.etag if done else None

    async def put_file(
        self,
        key: str,
        file: IO[bytes],
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
        sha256: str = "",
    ) -> str | None:
        """Write an object from an open file."""
        file.seek(0)
        return await self.put(key, file.read(), condition, metadata)

    async def get_file(
        self, key: str, path: Path, etag: str = "", size: int = 0, sha256: str = ""
    ) -> int:
        """Inputs are small here."""
        raise NotModelledError("get_file")

    async def get_within(self, key: str, limit: int, etag: str = "") -> bytes | None:
        """Return an input, which is empty."""
        return b""

    def list(self, prefix: str, *, folder_only: bool = False) -> AsyncIterator[ObjectInfo]:
        """Nothing in the model lists."""
        raise NotModelledError("list")

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete objects."""
        self._script.ask("remove", tuple(keys))


class Clock:
    """The time as the lease of one job knows it: it is NOW while the lease holds, and then LATE.

    The keeper renews messages without end, which is no step of the model; what ends a lease is a
    step. Claims end by the clock on the wall: when that has moved on, the keeper renews the
    claim, unless somebody has taken it over.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._receipt: Receipt | None = None
        self._lease: Lease | None = None
        self._keeper: LeaseKeeper | None = None
        self._seen = 0.0
        self._lost = False

    def follow(self, lease: Lease, keeper: LeaseKeeper) -> None:
        """Tell the time of this lease from now on."""
        self._receipt = to_receipt(lease.message.receipt)
        self._lease, self._keeper = lease, keeper
        lease.when_lost(self._lose)

    def wall(self) -> float:
        """Return the time that claims go by."""
        self._seen = self._script.ask("now")
        return self._seen

    def __call__(self) -> float:
        """Return NOW or LATE."""
        if self._lease is None or self._keeper is None:
            return NOW  # it was received just now, or is being renewed
        if self._lease.claim is None:
            return NOW if self._script.ask("holds", self._receipt) else LATE
        if self._script.ask("now") != self._seen:
            lease, self._lease = self._lease, None
            finish(self._keeper._renew_by_claim(lease))
            self._lease = lease
        return LATE if self._lost else NOW

    def _lose(self) -> None:
        self._lost = True


class ScriptedPeers:
    """Who else lives, as far as one execution can know (see Peers)."""

    def __init__(self, script: Script, worker: str) -> None:
        self._script = script
        self._worker = worker

    async def any_other(self, besides: Collection[str] = ()) -> bool:
        """Whether another worker lives that is none of `besides`."""
        lives: bool = self._script.ask("peers", frozenset((*besides, self._worker)))
        return lives
