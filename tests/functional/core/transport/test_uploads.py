"""Long bodies, and objects in parts: asked for before they are sent, whole or not at all."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.functional.core.transport.scripted import (
    Exchange,
    Step,
    answer,
    calling,
    refusal,
    served,
)

from parallelize_core.errors import FileChangedError, RefusedError, UnavailableError
from parallelize_core.parts import PART_BYTES, PARTS_AT_ONCE
from parallelize_core.store import ALWAYS, IF_ABSENT, Condition

DONE = answer(b"body", etag='"etag"')


def test_a_long_body_is_sent_when_the_server_asks_for_it() -> None:
    bodies: list[bytes] = []

    async def asking(exchange: Exchange) -> None:
        assert exchange.asked.headers["expect"] == "100-continue"
        await exchange.send(b"HTTP/1.1 100 Continue\r\nx: y\r\n\r\n")
        bodies.append(await exchange.body())
        await DONE(exchange)

    async def body() -> None:
        async with served(asking) as server, calling(server) as caller:
            content = bytes(range(256)) * 8192
            assert await caller.store().put("key", content) == "etag"
            await caller.store().put("key", content)
            assert bodies == [content] * 2
            assert server.connections == 1

    asyncio.run(body())


def test_a_long_body_that_is_refused_is_not_sent() -> None:
    async def body() -> None:
        async with served(refusal("AccessDenied", 403)) as server, calling(server) as caller:
            for _ in range(2):
                with pytest.raises(RefusedError):
                    await caller.store().put("key", bytes(2 * 1024 * 1024))
            # What the server would take for the body must not be the next request.
            assert server.connections == 2

    asyncio.run(body())


def test_a_server_that_does_not_ask_gets_a_long_body_all_the_same() -> None:
    async def taking(exchange: Exchange) -> None:
        await exchange.body()
        await DONE(exchange)

    async def body() -> None:
        async with served(taking) as server, calling(server) as caller:
            assert await caller.store().put("key", bytes(2 * 1024 * 1024)) == "etag"

    asyncio.run(body())


async def comparing(exchange: Exchange) -> None:
    """Answer a body as S3 does: only if it has the SHA-256 that was signed."""
    body = exchange.asked.body
    signed = exchange.asked.headers["x-amz-content-sha256"]
    same = signed == hashlib.sha256(body).hexdigest()
    await (DONE if same else refusal("XAmzContentSHA256Mismatch", 400))(exchange)


@pytest.mark.parametrize("signs", [True, False], ids=["http", "https"])
def test_a_body_with_another_checksum_than_the_caller_says_is_refused_by_s3(signs: bool) -> None:
    async def body() -> None:
        async with served(comparing) as server, calling(server) as caller:
            caller.client.endpoint = caller.client.endpoint._replace(signs_bodies=signs)
            store = caller.store()
            right, wrong = (hashlib.sha256(text).hexdigest() for text in (b"before", b"after"))
            assert await store.put("key", b"before", sha256=right) == "etag"
            with pytest.raises(FileChangedError, match="changed while it was sent"):
                await store.put("key", b"before", sha256=wrong)

    asyncio.run(body())


def test_a_body_that_changes_on_its_way_is_not_the_callers_fault() -> None:
    async def body() -> None:
        refused = refusal("XAmzContentSHA256Mismatch", 400)
        async with served(refused) as server, calling(server) as caller:
            known = hashlib.sha256(b"body").hexdigest()
            with pytest.raises(UnavailableError, match="not available"):
                await caller.store().put("key", b"body", sha256=known)

    asyncio.run(body())


class Parts:
    """Answers the requests of an upload; `on` replaces the answer to one of them."""

    def __init__(self, **on: Step) -> None:
        self.on = on
        self.done: list[str] = []

    async def __call__(self, exchange: Exchange) -> None:
        if "expect" in exchange.asked.headers:
            await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            await exchange.body()
        name = self.name(exchange)
        self.done.append(name)
        await self.on.pop(name, self.answers()[name])(exchange)

    def name(self, exchange: Exchange) -> str:
        method, target = exchange.asked.method, exchange.asked.target
        if method == "POST":
            return "begin" if target.endswith("?uploads=") else "complete"
        return "abort" if method == "DELETE" else "part"

    def answers(self) -> dict[str, Step]:
        return {
            "begin": answer(b"<R><UploadId>up/load</UploadId></R>"),
            "part": answer(b"", etag='"part"'),
            "complete": answer(b"<R><ETag>&quot;whole-2&quot;</ETag></R>"),
            "abort": answer(b"", 204),
        }


async def uploaded(parts: Parts, condition: Condition = ALWAYS) -> str | None:
    async with served(parts) as server, calling(server) as caller:
        store = caller.store()
        try:
            return await store.put_file("key", io.BytesIO(bytes(PART_BYTES + 1)), condition)
        finally:
            await store.aclose()


def test_an_upload_in_parts_is_joined() -> None:
    parts = Parts()
    assert asyncio.run(uploaded(parts)) == "whole-2"
    assert parts.done == ["begin", "part", "part", "complete"]


def test_an_upload_whose_condition_does_not_hold_leaves_no_parts() -> None:
    parts = Parts(complete=refusal("PreconditionFailed", 412))
    assert asyncio.run(uploaded(parts, IF_ABSENT)) is None
    assert parts.done[-2:] == ["complete", "abort"]


def test_an_upload_that_meets_another_write_is_sent_again_whole() -> None:
    parts = Parts(complete=refusal("ConditionalRequestConflict", 409))
    assert asyncio.run(uploaded(parts, IF_ABSENT)) == "whole-2"
    again = parts.done[parts.done.index("complete") + 1 :]
    assert sorted(again) == ["abort", "begin", "complete", "part", "part"]


def test_an_error_hidden_in_a_success_is_seen() -> None:
    hidden = answer(b"<?xml?>\n<Error><Code>InternalError</Code><Message>x</Message></Error>")
    parts = Parts(complete=hidden)
    assert asyncio.run(uploaded(parts)) == "whole-2"
    assert parts.done == ["begin", "part", "part", "complete", "complete"]


def test_a_part_that_is_refused_leaves_no_parts() -> None:
    parts = Parts(part=refusal("AccessDenied", 403))
    with pytest.raises(RefusedError):
        asyncio.run(uploaded(parts))
    assert parts.done[-1] == "abort"


def test_an_abort_that_fails_does_not_hide_the_reason() -> None:
    parts = Parts(part=refusal("AccessDenied", 403), abort=refusal("NoSuchUpload", 404))
    with pytest.raises(RefusedError):
        asyncio.run(uploaded(parts))


def test_an_upload_that_is_cancelled_leaves_no_parts() -> None:
    async def body() -> None:
        begun = asyncio.Event()

        async def hanging(exchange: Exchange) -> None:
            begun.set()
            await exchange.reader.read()

        parts = Parts(part=hanging)
        async with served(parts) as server, calling(server) as caller:
            store = caller.store()
            call = asyncio.create_task(store.put_file("key", io.BytesIO(bytes(PART_BYTES + 1))))
            await begun.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await store.aclose()
        assert parts.done[-1] == "abort"

    asyncio.run(body())


class Draining(Parts):
    """Keeps nothing of a part; `before` is called when it has been announced."""

    def __init__(self, before: Callable[[], object] = int) -> None:
        super().__init__()
        self.before = before
        self.received = 0

    async def __call__(self, exchange: Exchange) -> None:
        if self.name(exchange) != "part":
            await super().__call__(exchange)
            return
        self.before()
        if "expect" in exchange.asked.headers:
            await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        left = int(exchange.asked.headers["content-length"])
        while left and (taken := len(await exchange.reader.read(left))):
            left -= taken
            self.received += taken
        await answer(b"", etag='"part"')(exchange)


async def uploaded_file(parts: Parts, file: Path, sha256: str = "") -> str | None:
    async with served(parts) as server, calling(server) as caller:
        store = caller.store()
        with file.open("rb") as opened:
            try:
                return await store.put_file("key", opened, sha256=sha256)
            finally:
                await store.aclose()


def test_an_upload_of_a_file_takes_the_memory_of_some_pieces(tmp_path: Path) -> None:
    file = tmp_path / "large"
    with file.open("wb") as opened:
        opened.truncate(4 * PART_BYTES)
    parts = Draining()
    tracemalloc.start()
    try:
        assert asyncio.run(uploaded_file(parts, file)) == "whole-2"
        assert tracemalloc.get_traced_memory()[1] < PART_BYTES
    finally:
        tracemalloc.stop()
    assert parts.received == 4 * PART_BYTES


def test_a_file_that_becomes_shorter_while_it_is_sent_is_not_stored(tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(bytes(PART_BYTES + 1))
    with pytest.raises(FileChangedError, match="shorter"):
        asyncio.run(uploaded_file(Draining(lambda: file.write_bytes(b"")), file))


def sparse(file: Path, size: int) -> str:
    """Make a file of zeros; return its SHA-256."""
    with file.open("wb") as opened:
        opened.truncate(size)
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def test_an_upload_is_joined_if_the_bytes_that_were_sent_have_the_checksum(tmp_path: Path) -> None:
    file = tmp_path / "large"
    sha256 = sparse(file, 2 * PART_BYTES)
    parts = Draining()
    assert asyncio.run(uploaded_file(parts, file, sha256)) == "whole-2"
    assert parts.done[-1] == "complete"


@pytest.mark.parametrize("size", [1, PART_BYTES])
def test_bytes_with_another_checksum_are_not_stored(size: int) -> None:
    async def body(parts: Parts) -> None:
        async with served(parts) as server, calling(server) as caller:
            store = caller.store()
            other = hashlib.sha256(b"other").hexdigest()
            try:
                await store.put_file("key", io.BytesIO(bytes(size)), sha256=other)
            finally:
                await store.aclose()

    parts = Parts()
    with pytest.raises(FileChangedError):
        asyncio.run(body(parts))
    assert parts.done in ([], ["begin", "part", "abort"])


def test_a_byte_that_changes_during_an_upload_never_becomes_part_of_an_object(
    tmp_path: Path,
) -> None:
    file = tmp_path / "large"
    # The last part is not read before the first ones have been sent.
    size = (PARTS_AT_ONCE + 1) * PART_BYTES
    sha256 = sparse(file, size)

    def change() -> None:
        with file.open("r+b") as opened:
            opened.seek(size - 1)
            opened.write(b"!")

    parts = Draining(change)
    with pytest.raises(FileChangedError, match="changed while it was sent"):
        asyncio.run(uploaded_file(parts, file, sha256))
    assert parts.received == size
    assert "complete" not in parts.done
    assert parts.done[-1] == "abort"


class Checking(Draining):
    """Refuses a part that does not have its checksum, as S3 does."""

    async def __call__(self, exchange: Exchange) -> None:
        if self.name(exchange) != "part":
            await super().__call__(exchange)
            return
        self.before()
        await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        sum_ = zlib.crc32(await exchange.body()).to_bytes(4, "big")
        told = exchange.asked.headers["x-amz-checksum-crc32"]
        same = told == base64.b64encode(sum_).decode()
        await (answer(b"", etag='"part"') if same else refusal("BadDigest", 400))(exchange)


def test_a_byte_that_changes_between_its_checksum_and_the_wire_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "large"
    sha256 = sparse(file, PART_BYTES)
    parts = Checking(lambda: file.write_bytes(b"!" * PART_BYTES))
    with pytest.raises(UnavailableError, match="not available"):
        asyncio.run(uploaded_file(parts, file, sha256))
    assert parts.done == ["begin", "abort"]
