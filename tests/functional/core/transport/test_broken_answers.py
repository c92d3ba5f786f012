"""Answers that break off, are garbled, trickle or never come; each is a fault that may pass."""

from __future__ import annotations

import asyncio
import base64
import zlib
from pathlib import Path

import pytest
from tests.functional.core.transport.scripted import (
    Exchange,
    Step,
    answer,
    calling,
    hang_up,
    raw,
    served,
    silence,
    targets,
    trickle,
)

from parallelize_core.errors import ChangedError, UnavailableError
from parallelize_core.parts import PART_BYTES
from parallelize_core.transport.client import Request
from parallelize_core.transport.connection import Patience, PatienceError
from parallelize_core.transport.retries import ATTEMPTS

BODY = bytes(range(256)) * 1024
CHECKSUM = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()
WHOLE = answer(BODY, x_amz_checksum_crc32=CHECKSUM, etag='"etag"')
SHORT = Patience(0.2, progress_seconds=0.2, progress_bytes=1024)

BROKEN = {
    "cut in its body": answer(BODY, cut=1000),
    "cut in its headers": answer(BODY, cut=20),
    "cut in its first line": answer(BODY, cut=5),
    "no answer at all": hang_up,
    "another byte": answer(b"!" + BODY[1:], x_amz_checksum_crc32=CHECKSUM, etag='"etag"'),
    "no HTTP": raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"),
    "no length": raw(b"HTTP/1.1 200 OK\r\n\r\n" + BODY),
    "two lengths": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
    "a cut chunk": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\nabc"),
    "a wrong chunk": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_body_is_read_again(broken: Step) -> None:
    async def body() -> None:
        async with served(broken, broken, WHOLE) as server, calling(server) as caller:
            assert await caller.store().get("key") == BODY
            assert len(server.asked) == 3

    asyncio.run(body())


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_fetched_again_whole(broken: Step, tmp_path: Path) -> None:
    async def body() -> None:
        async with served(broken, broken, WHOLE) as server, calling(server) as caller:
            assert await caller.store().get_file("key", tmp_path / "file") == len(BODY)

    asyncio.run(body())
    assert (tmp_path / "file").read_bytes() == BODY


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_what_breaks_every_time_may_pass_and_leaves_no_file(broken: Step, tmp_path: Path) -> None:
    async def body() -> None:
        async with served(broken) as server, calling(server) as caller:
            with pytest.raises(UnavailableError, match="s3://bucket/key") as caught:
                await caller.store().get_file("key", tmp_path / "file")
            assert caught.value.__cause__ is not None
            assert len(server.asked) == ATTEMPTS

    asyncio.run(body())
    assert not (tmp_path / "file").exists()


def test_a_shorter_answer_leaves_nothing_of_a_longer_one_that_broke(tmp_path: Path) -> None:
    async def body() -> None:
        cut = answer(BODY * 2, cut=len(BODY) + 5000)
        async with served(cut, WHOLE) as server, calling(server) as caller:
            await caller.store().get_file("key", tmp_path / "file")

    asyncio.run(body())
    assert (tmp_path / "file").read_bytes() == BODY


@pytest.mark.parametrize(
    "step",
    [
        silence,
        trickle(b"HTTP/1.1 200 OK\r\nx-slow: "),
        trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
        trickle(b"HTTP/1.1 503 Busy\r\nContent-Length: 100000\r\n\r\n"),
        trickle(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["silence", "headers", "body", "refusal", "chunks"],
)
def test_what_takes_too_long_is_given_up(step: Step) -> None:
    async def body() -> None:
        async with served(step) as server, calling(server) as caller:
            with pytest.raises(UnavailableError) as caught:
                await caller.client.call(Request("GET", "key", "it", SHORT))
            assert isinstance(caught.value.__cause__, PatienceError)
            assert len(server.asked) == ATTEMPTS

    asyncio.run(body())


def test_a_body_that_goes_on_fast_enough_is_waited_for() -> None:
    async def slowly(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n")
        for _ in range(10):
            await asyncio.sleep(0.06)
            await exchange.send(b"x" * 2000)

    async def body() -> None:
        async with served(slowly) as server, calling(server) as caller:
            reply = await caller.client.call(Request("GET", "key", "it", SHORT))
            assert reply.body == b"x" * 20000

    asyncio.run(body())


def test_an_upload_that_is_not_taken_is_given_up() -> None:
    async def deaf(exchange: Exchange) -> None:
        await asyncio.sleep(60)

    async def body() -> None:
        async with served(deaf) as server, calling(server) as caller:
            content = bytes(32 * 1024 * 1024)
            request = Request("PUT", "key", "it", SHORT, body=content)
            request.headers.append(("expect-not", "x"))
            with pytest.raises(UnavailableError) as caught:
                await caller.client.call(request)
            assert isinstance(caught.value.__cause__, PatienceError)

    asyncio.run(body())


def test_a_connection_closed_while_idle_is_no_failed_attempt() -> None:
    async def body() -> None:
        async def once(exchange: Exchange) -> None:
            await WHOLE(exchange)
            # It is closed at the moment at which it is used again.
            await exchange.reader.readuntil(b"\r\n\r\n")
            exchange.close()

        async with served(once, WHOLE) as server, calling(server, budget=NoRetries()) as caller:
            store = caller.store()
            assert await store.get("a") == await store.get("b") == BODY
            assert server.connections == 2

    asyncio.run(body())


class NoRetries:
    def succeeded(self, spent: int) -> None:
        pass

    def delay(self, *_: object) -> None:
        return None


def test_a_connection_is_used_again() -> None:
    async def body() -> None:
        async with served(WHOLE) as server, calling(server) as caller:
            store = caller.store()
            for _ in range(5):
                await store.get("key")
            await store.head("key")
            await store.get("key")
            assert server.connections == 1

    asyncio.run(body())


@pytest.mark.parametrize(
    "step",
    [
        answer(BODY, connection="close"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"),
        trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", b"HTTP/1.1 200 OK\r\n"),
    ],
    ids=["told", "closed", "speaks unasked"],
)
def test_a_connection_that_is_at_its_end_is_not_used_again(step: Step) -> None:
    async def body() -> None:
        async with served(step, WHOLE) as server, calling(server) as caller:
            store = caller.store()
            await store.get("a")
            await asyncio.sleep(5 * 0.02)
            assert await store.get("b") == BODY
            assert (server.connections, len(server.asked)) == (2, 2)

    asyncio.run(body())


def test_a_call_that_is_cancelled_in_mid_body_closes_its_connection() -> None:
    async def body() -> None:
        begun = asyncio.Event()

        async def half(exchange: Exchange) -> None:
            await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
            begun.set()
            await exchange.reader.read()

        async with served(half, WHOLE) as server, calling(server) as caller:
            store = caller.store()
            call = asyncio.create_task(store.get("a"))
            await begun.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await server.lost.wait()
            assert await store.get("b") == BODY
            assert server.connections == 2

    asyncio.run(body())


def test_of_a_large_file_only_the_broken_part_is_fetched_again(tmp_path: Path) -> None:
    large = bytes(range(256)) * (PART_BYTES // 256 * 2 + 4)

    async def body() -> None:
        broken = [True]

        async def step(exchange: Exchange) -> None:
            bounds = exchange.asked.headers.get("range")
            if bounds is None:
                await answer(large, etag='"etag"')(exchange)
                return
            first, last = map(int, bounds.removeprefix("bytes=").split("-"))
            assert exchange.asked.headers["if-match"] == '"etag"'
            cut = 5000 if broken else None
            broken.clear()
            await answer(large[first : last + 1], 206, cut)(exchange)

        async with served(step) as server, calling(server) as caller:
            assert await caller.store().get_file("key", tmp_path / "file") == len(large)
            assert len(server.asked) == 4

    asyncio.run(body())
    assert (tmp_path / "file").read_bytes() == large


def test_a_large_file_is_never_put_together_from_two_versions(tmp_path: Path) -> None:
    async def body() -> None:
        async def step(exchange: Exchange) -> None:
            if "range" in exchange.asked.headers:
                await answer(b"", 412)(exchange)
            else:
                await answer(bytes(PART_BYTES + 1), etag='"etag"')(exchange)

        async with served(step) as server, calling(server) as caller:
            with pytest.raises(ChangedError):
                await caller.store().get_file("key", tmp_path / "file")
            assert len(targets(server.asked)) == 2

    asyncio.run(body())
    assert not (tmp_path / "file").exists()


def test_a_large_file_that_breaks_off_goes_on_with_its_version(tmp_path: Path) -> None:
    async def body() -> None:
        async def step(exchange: Exchange) -> None:
            if "range" in exchange.asked.headers:
                await answer(b"x" * 9, 206)(exchange)
            elif "if-match" in exchange.asked.headers:
                assert exchange.asked.headers["if-match"] == '"etag"'
                await answer(b"", 412)(exchange)
            else:
                await answer(bytes(PART_BYTES + 9), etag='"etag"', cut=PART_BYTES // 2)(exchange)

        async with served(step) as server, calling(server) as caller:
            with pytest.raises(ChangedError):
                await caller.store().get_file("key", tmp_path / "file")

    asyncio.run(body())
    assert not (tmp_path / "file").exists()


def test_an_error_of_the_disk_is_none_of_the_service(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(WHOLE) as server, calling(server) as caller:
            with pytest.raises(FileNotFoundError):
                await caller.store().get_file("key", tmp_path / "none" / "file")
            assert len(server.asked) == 1

    asyncio.run(body())
