"""What the agents of the model share: one queue and one bucket, as values that never change.

Every function returns a new world. The queue promises what SQS promises of a standard queue and
no more: a message may come twice, a lease may run out at any moment, a delete with an old receipt
may work. The bucket's writes are conditional as S3's are; ETags stand for contents.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from parallelize_core.errors import MissingError
from parallelize_core.store import ALWAYS, Condition, ObjectInfo


@dataclass(frozen=True, order=True)
class Message:
    """A message for the one job; `receipt` counts its receives, `holder` is 0 if it is visible."""

    id: int
    receipt: int = 0
    holder: int = 0
    claimed: bool = False


@dataclass(frozen=True, order=True)
class Stored:
    """An object; `metadata` is sorted pairs."""

    body: bytes
    metadata: tuple[tuple[str, str], ...] = ()

    @cached_property
    def etag(self) -> str:
        """The version, which is the same for the same content."""
        return hashlib.md5(self.body, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class World:
    """The queue's messages and the bucket's objects, sorted, so that equal worlds are equal.

    `clock` moves only to end a claim; `claimant` is the execution that made the last one, and
    `workers` are the executions that have begun to work.
    """

    messages: tuple[Message, ...] = ()
    objects: tuple[tuple[str, Stored], ...] = ()
    sent: int = 0
    clock: float = 0
    claimant: int | None = None
    workers: frozenset[int] = frozenset()

    def find(self, key: str) -> Stored | None:
        """Return an object."""
        return dict(self.objects).get(key)

    def send(self, *, claimed: bool = False) -> World:
        """Put a message on the queue."""
        number = self.sent + 1
        fresh = Message(number, claimed=claimed)
        return replace(self, messages=(*self.messages, fresh), sent=number)

    def change(self, message: Message, new: Message | None) -> World:
        """Put a message in another's place, or nothing."""
        rest = [m for m in self.messages if m.id != message.id]
        return replace(self, messages=tuple(sorted([*rest, *([new] if new else [])])))

    def holds(self, receipt: tuple[int, int]) -> bool:
        """Whether a receive, as (message id, receipt), still has its lease."""
        return any((m.id, m.receipt) == receipt and m.holder for m in self.messages)

    def put(self, key: str, stored: Stored, condition: Condition) -> World | None:
        """Write an object, or return None if the condition does not hold."""
        there = self.find(key)
        if condition.absent and there:
            return None
        if condition.etag is not None and (there is None or there.etag != condition.etag):
            return None
        return replace(self, objects=tuple(sorted((dict(self.objects) | {key: stored}).items())))

    def remove(self, keys: tuple[str, ...]) -> World:
        """Delete objects."""
        return replace(self, objects=tuple(pair for pair in self.objects if pair[0] not in keys))


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


class Script:
    """Answers to the first calls of an agent; the next one raises Asked."""

    def __init__(self, answers: tuple[Any, ...]) -> None:
        self._answers = iter(answers)

    def ask(self, name: str, *arguments: Any) -> Any:
        """Return the answer to a call, or raise Asked."""
        for answer in self._answers:
            return answer
        raise Asked(Call(name, arguments))


class ScriptedStore:
    """A bucket of which every call is one step of the model (see AsyncStore)."""

    bucket = "bucket"

    def __init__(self, script: Script) -> None:
        self._script = script

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
        done: bool = self._script.ask("put", key, stored, condition)
        return stored.etag if done else None

    async def put_file(
        self,
        key: str,
        file: IO[bytes],
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """Write an object from an open file."""
        file.seek(0)
        return await self.put(key, file.read(), condition, metadata)

    async def get_file(self, key: str, path: Path, etag: str = "") -> int:
        """Nothing in the model reads inputs."""
        raise NotImplementedError

    async def get_within(self, key: str, limit: int, etag: str = "") -> bytes | None:
        """Nothing in the model reads inputs."""
        raise NotImplementedError

    def list(self, prefix: str, *, folder_only: bool = False) -> AsyncIterator[ObjectInfo]:
        """Nothing in the model lists."""
        raise NotImplementedError

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete objects."""
        self._script.ask("remove", tuple(keys))
