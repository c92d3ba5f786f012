"""Whatever is raised while a call is under way leaves it as the error tree, with its cause."""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httptools
import pytest
from tests.functional.core.transport.scripted import Caller, answer, calling, served

from parallelize_core.errors import ParallelizeError, UnavailableError, UsageError
from parallelize_core.transport.connection import Connection

ANYTHING: list[Exception] = [
    OSError(24, "Too many open files"), ConnectionResetError(104, "reset"), BrokenPipeError(),
    TimeoutError(), ssl.SSLError(1, "[SSL] record layer failure"), ssl.SSLZeroReturnError(),
    ssl.SSLCertVerificationError("no"), httptools.HttpParserError("bad"),
    httptools.HttpParserInvalidStatusError("bad"), asyncio.IncompleteReadError(b"", 4),
    asyncio.InvalidStateError(), asyncio.LimitOverrunError("x", 1), EOFError(), KeyError("x"),
    RuntimeError("can't start new thread"), RecursionError(), ValueError("x"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), ArithmeticError(), AttributeError("x"),
    AssertionError(), StopIteration(), StopAsyncIteration(), BufferError(), NotImplementedError(),
]  # fmt: skip


class Failing(Connection):
    """A connection at one of whose steps something is raised, every time."""

    raises: BaseException
    step: str

    def fail(self, step: str) -> None:
        if step == self.step:
            raise self.raises

    def data_received(self, data: bytes) -> None:
        if self.step == "feed" and self._answer is not None:
            self._answer.feed = self.spoiled
        super().data_received(data)

    def spoiled(self, data: bytes) -> None:
        raise self.raises

    async def ask(self, *words: Any, **more: Any) -> Any:
        self.fail("ask")
        return await super().ask(*words, **more)


CALLS: dict[str, Callable[[Caller, Path], Awaitable[object]]] = {
    "get": lambda caller, path: caller.store().get("key"),
    "get_within": lambda caller, path: caller.store().get_within("key", 10),
    "get_file": lambda caller, path: caller.store().get_file("key", path),
    "head": lambda caller, path: caller.store().head("key"),
    "put": lambda caller, path: caller.store().put("key", b"body"),
    "put_file": lambda caller, path: caller.store().put_file("key", io.BytesIO(b"body")),
    "delete": lambda caller, path: caller.store().delete(["key"]),
    "send": lambda caller, path: caller.queue().send(["body"]),
    "receive": lambda caller, path: caller.queue().receive(1, 0, 30),
    "extend": lambda caller, path: caller.queue().extend(["receipt"], 30),
    "acknowledge": lambda caller, path: caller.queue().delete(["receipt"]),
    "counts": lambda caller, path: caller.queue().counts(),
}


async def failing(
    call: Callable[[Caller, Path], Awaitable[object]],
    path: Path,
    step: str,
    raises: BaseException,
) -> None:
    class Here(Failing):
        pass

    Here.step, Here.raises = step, raises
    async with served(answer(b"body", etag='"etag"')) as server, calling(server) as caller:

        async def connect() -> Connection:
            loop = asyncio.get_running_loop()
            if step == "connect":
                raise raises
            _, made = await loop.create_connection(lambda: Here(loop), "127.0.0.1", server.port)
            return made

        caller.pool._connect = connect
        await call(caller, path)


@pytest.mark.parametrize("step", ["connect", "ask", "feed"])
@pytest.mark.parametrize("name", CALLS)
def test_whatever_is_raised_is_a_fault_that_may_pass(tmp_path: Path, name: str, step: str) -> None:
    for raises in ANYTHING:
        with pytest.raises(UnavailableError) as caught:
            asyncio.run(failing(CALLS[name], tmp_path / "file", step, raises))
        assert caught.value.__cause__ is not None
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("step", ["connect", "ask", "feed"])
def test_a_lack_of_memory_is_let_through(tmp_path: Path, step: str) -> None:
    for name, call in CALLS.items():
        with pytest.raises(MemoryError):
            asyncio.run(failing(call, tmp_path / name, step, MemoryError()))


@pytest.mark.parametrize("key", ["\ud800", "a\udfffb"])
def test_a_key_that_cannot_be_written_as_utf_8_is_an_error_of_the_caller(key: str) -> None:
    async def body() -> None:
        async with served(answer()) as server, calling(server) as caller:
            with pytest.raises(UsageError):
                await caller.store().get(key)
            assert server.asked == []

    asyncio.run(body())


@pytest.mark.parametrize("value", ["a\r\nx-amz-acl: public-read", "a\nb", "a\rb"])
def test_metadata_cannot_smuggle_a_header(value: str) -> None:
    async def body() -> None:
        async with served(answer()) as server, calling(server) as caller:
            with pytest.raises(ParallelizeError):
                await caller.store().put("key", b"", metadata={"input": value})
            assert server.asked == []

    asyncio.run(body())
