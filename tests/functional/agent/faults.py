"""A queue and a store with faults that a test switches on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from parallelize_core.errors import UnavailableError
from parallelize_core.queue import Message, Queue, QueueCounts
from parallelize_core.store import ALWAYS, Condition, ObjectInfo, Store

UNREACHABLE = UnavailableError("AWS cannot be reached", "https://aws.example does not answer")


@dataclass
class Faults:
    """What goes wrong: each call is announced to `hook` by its name, which may raise.

    `broken` has names of calls that fail, perhaps with the start of their key.
    """

    hook: Callable[[str], None] = lambda _: None
    calls: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)

    def announce(self, call: str) -> None:
        self.calls.append(call)
        self.hook(call)
        if any(
            f"{call} ".startswith(f"{start} ") or (" " in start and call.startswith(start))
            for start in self.broken
        ):
            # A copy: the traceback of one that is raised again and again grows without end.
            raise copy(UNREACHABLE)


class FaultyQueue:
    """A worker's own way to a queue."""

    def __init__(self, queue: Queue, faults: Faults) -> None:
        self._queue = queue
        self._faults = faults

    def send(self, bodies: Sequence[str], delay_seconds: int = 0) -> None:
        self._faults.announce("send")
        self._queue.send(bodies, delay_seconds)

    def receive(self, limit: int, wait_seconds: int, lease_seconds: int) -> list[Message]:
        self._faults.announce(f"receive {limit}")
        found = self._queue.receive(limit, wait_seconds, lease_seconds)
        self._faults.announce(f"received {len(found)}")
        return found

    def extend(self, receipts: Sequence[str], lease_seconds: int) -> list[str]:
        self._faults.announce("extend")
        return self._queue.extend(receipts, lease_seconds)

    def delete(self, receipts: Sequence[str]) -> None:
        self._faults.announce("delete")
        self._queue.delete(receipts)

    def counts(self) -> QueueCounts:
        self._faults.announce("counts")
        return self._queue.counts()


class FaultyStore:
    """A worker's own way to a bucket; calls are announced with their key."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store = store
        self._faults = faults
        self.bucket = store.bucket

    def get(self, key: str) -> bytes:
        self._faults.announce(f"get {key}")
        return self._store.get(key)

    def get_file(self, key: str, path: Path, etag: str = "") -> int:
        self._faults.announce(f"get_file {key}")
        return self._store.get_file(key, path, etag)

    def head(self, key: str) -> ObjectInfo | None:
        self._faults.announce(f"head {key}")
        return self._store.head(key)

    def put(
        self,
        key: str,
        body: bytes,
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        self._faults.announce(f"put {key}")
        return self._store.put(key, body, condition, metadata)

    def put_file(
        self,
        key: str,
        file: IO[bytes],
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        self._faults.announce(f"put_file {key}")
        return self._store.put_file(key, file, condition, metadata)

    def list(self, prefix: str, *, folder_only: bool = False) -> Iterator[ObjectInfo]:
        self._faults.announce(f"list {prefix}")
        return self._store.list(prefix, folder_only=folder_only)

    def delete(self, keys: Iterable[str]) -> None:
        self._faults.announce("delete")
        self._store.delete(keys)
