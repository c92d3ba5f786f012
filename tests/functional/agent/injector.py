"""A store or a queue of which one call goes wrong, in any way that Python knows."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, cast

import urllib3.exceptions

from parallelize_core.errors import (
    ChangedError,
    DecodeError,
    MissingError,
    RefusedError,
    ServiceError,
    ThrottledError,
    UnavailableError,
)
from parallelize_core.queue import Queue
from parallelize_core.store import Store

OF_THE_TREE: tuple[Exception, ...] = (
    UnavailableError("injected"),
    ThrottledError("injected"),
    ServiceError("injected"),
    RefusedError("injected"),
    MissingError("injected"),
    ChangedError("injected"),
    DecodeError("injected", "raw"),
)

ODD: tuple[Exception, ...] = (
    ConnectionResetError("injected"),
    BrokenPipeError("injected"),
    PermissionError("injected"),
    OSError("injected"),
    ssl.SSLError("injected"),
    urllib3.exceptions.SSLError("injected"),
    urllib3.exceptions.IncompleteRead(5, 5),
    urllib3.exceptions.ProtocolError("injected"),
    TimeoutError("injected"),
    asyncio.IncompleteReadError(b"", 5),
    MemoryError("injected"),
    RuntimeError("can't start new thread"),
    RecursionError("injected"),
    KeyError("injected"),
    ValueError("injected"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "injected"),
    AssertionError("injected"),
    StopAsyncIteration("injected"),
    EOFError("injected"),
    AttributeError("injected"),
)


class Moment(Enum):
    """When a call goes wrong."""

    BEFORE = "before it has had its effect"
    AFTER = "after it has had its effect"
    HALFWAY = "after half of a file was written"


@dataclass
class Injector:
    """Has the `turn`-th call of `name` raise `error`, or none of them if there is no such call."""

    name: str
    turn: int
    error: Exception
    moment: Moment
    fired: bool = False
    _calls: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def store(self, store: Store) -> Store:
        """Return `store`, with the fault."""
        return cast("Store", _Injected(store, self))

    def queue(self, queue: Queue) -> Queue:
        """Return `queue`, with the fault."""
        return cast("Queue", _Injected(queue, self))

    def call(self, name: str, method: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Make a call, or have it go wrong if its turn has come."""
        if not self._is_due(name):
            return method(*args, **named)
        if self.moment is not Moment.BEFORE:
            method(*args, **named)
        if self.moment is Moment.HALFWAY and name == "get_file":
            _halve(args[1])
        raise self.error

    def _is_due(self, name: str) -> bool:
        with self._lock:
            self._calls += name == self.name
            due = name == self.name and self._calls == self.turn
            self.fired |= due
            return due


class _Injected:
    def __init__(self, real: object, injector: Injector) -> None:
        self._real = real
        self._injector = injector

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._real, name)
        if not callable(member):
            return member
        return lambda *args, **named: self._injector.call(name, member, *args, **named)


def _halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
