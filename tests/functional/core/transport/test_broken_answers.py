"""Answers that break off, are garbled, trickle or never come; each is a fault that may pass."""

from __future__ import annotations

import asyncio
import base64
import gc
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from tests.functional.core.transport.scripted import (
    Exchange,
    NoRetries,
    Step,
    answer,
    calling,
    hang_up,
    raw,
    served,
    targets,
    trickle,
)

from parallelize_core.errors import ChangedError, UnavailableError
from parallelize_core.parts import PART_BYTES
from parallelize_core.transport.answers import Reply
from parallelize_core.transport.client import Request
from parallelize_core.transport.connection import BrokenAnswerError, Patience
from parallelize_core.transport.retries import ATTEMPTS
from parallelize_core.transport.sinks import HELD_BYTES, FilePart

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


def test_a_success_of_unknown_length_is_not_waited_for() -> None:
    """It would end with its connection, and half of it would look like the whole."""

    async def body() -> None:
        endless = trickle(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1024)
        async with served(endless) as server, calling(server) as caller:
            with pytest.raises(UnavailableError) as caught:
                await caller.client.call(Request("GET", "key", "it", SHORT))
            assert "length" in str(caught.value.__cause__)

    asyncio.run(body())


def test_a_client_that_is_closed_while_it_connects_asks_nothing() -> None:
    async def body() -> None:
        async with served(WHOLE) as server, calling(server, budget=NoRetries()) as caller:
            # Where credentials come from is known, so that the next call begins to connect.
            await caller.store().head("key")
            calls = [asyncio.create_task(caller.store().get("key")) for _ in range(2)]
            await asyncio.sleep(0)
            caller.pool.close()
            for call in calls:
                with pytest.raises(UnavailableError):
                    await call
            assert not caller.pool._idle

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
        async with served(step, WHOLE) as server, calling(server, budget=NoRetries()) as caller:
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
            said = {"content-range": f"bytes {first}-{last}/{len(large)}"}
            await answer(large[first : last + 1], 206, cut, **said)(exchange)

        async with served(step) as server, calling(server) as caller:
            assert await caller.store().get_file("key", tmp_path / "file") == len(large)
            assert len(server.asked) == 4

    asyncio.run(body())
    assert (tmp_path / "file").read_bytes() == large


def test_a_server_that_knows_no_ranges_is_not_believed(tmp_path: Path) -> None:
    async def body() -> None:
        large = answer(bytes(PART_BYTES + 9), etag='"etag"')
        async with served(large) as server, calling(server) as caller:
            with pytest.raises(UnavailableError, match="other bytes"):
                await caller.store().get_file("key", tmp_path / "file")

    asyncio.run(body())
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("said", ["AAAAAA==-2", ""])
def test_a_checksum_of_parts_is_none_of_the_whole(said: str) -> None:
    async def body() -> None:
        step = answer(BODY, x_amz_checksum_crc32=said)
        async with served(step) as server, calling(server) as caller:
            assert await caller.store().get("key") == BODY

    asyncio.run(body())


def test_a_file_with_fewer_bytes_than_were_promised_is_not_whole(tmp_path: Path) -> None:
    async def body() -> None:
        with (tmp_path / "file").open("wb") as file, ThreadPoolExecutor(1) as pool:
            place = FilePart(file.fileno, pool, checks=False)
            await place.begin(Reply(200, {"content-length": "10"}))
            await place.write(b"half ")
            with pytest.raises(BrokenAnswerError):
                await place.finish()

    asyncio.run(body())


def descriptors(path: Path) -> int:
    """Return how many descriptors of this process are this file's."""
    there = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            there += link.readlink() == path
    return there


def test_a_write_that_is_cancelled_before_it_begins_keeps_no_descriptor(tmp_path: Path) -> None:
    go_on = threading.Event()

    async def body(place: FilePart) -> int:
        await place.begin(Reply(200, {"content-length": f"{HELD_BYTES}"}))
        writing = asyncio.create_task(place.write(bytes(HELD_BYTES)))
        await asyncio.sleep(0)
        assert descriptors(tmp_path / "file") == 2
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        return descriptors(tmp_path / "file")

    with (tmp_path / "file").open("wb") as file, ThreadPoolExecutor(1) as pool:
        pool.submit(go_on.wait)
        try:
            assert asyncio.run(body(FilePart(file.fileno, pool, checks=False))) == 1
        finally:
            go_on.set()


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


def test_calls_leave_nothing_to_the_garbage_collector() -> None:
    """It stops the loop for longer the more there is, and an agent makes calls by the million."""

    async def body() -> None:
        async with served(WHOLE) as server, calling(server) as caller:
            store = caller.store()
            await store.get("key")
            gc.collect()
            gc.disable()
            try:
                before = len(gc.get_objects())
                for _ in range(50):
                    await store.get("key")
                server.asked.clear()
                assert len(gc.get_objects()) - before < 50
            finally:
                gc.enable()

    asyncio.run(body())
