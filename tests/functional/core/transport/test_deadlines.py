"""What takes too long is given up; what only takes its time is waited for."""

from __future__ import annotations

import asyncio
import base64
import zlib

import pytest
from tests.functional.core.transport.scripted import (
    Exchange,
    NoRetries,
    Step,
    answer,
    calling,
    served,
    silence,
    trickle,
)

from parallelize_core.errors import UnavailableError
from parallelize_core.transport.client import Request
from parallelize_core.transport.connection import Patience, PatienceError
from parallelize_core.transport.retries import ATTEMPTS, STALLED_ATTEMPTS
from parallelize_core.transport.sinks import Memory

BODY = bytes(range(256)) * 1024
CHECKSUM = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()
WHOLE = answer(BODY, x_amz_checksum_crc32=CHECKSUM, etag='"etag"')
SHORT = Patience(0.2, progress_seconds=0.2, progress_bytes=1024)


@pytest.mark.parametrize(
    ("step", "attempts"),
    [
        (silence, ATTEMPTS),
        (trickle(b"HTTP/1.1 200 OK\r\nx-slow: "), ATTEMPTS),
        (trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"), STALLED_ATTEMPTS),
        (trickle(b"HTTP/1.1 503 Busy\r\nContent-Length: 100000\r\n\r\n"), STALLED_ATTEMPTS),
        (
            trickle(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
            STALLED_ATTEMPTS,
        ),
    ],
    ids=["silence", "headers", "body", "refusal", "chunks"],
)
def test_what_takes_too_long_is_given_up(step: Step, attempts: int) -> None:
    async def body() -> None:
        async with served(step) as server, calling(server) as caller:
            with pytest.raises(UnavailableError) as caught:
                await caller.client.call(Request("GET", "key", "it", SHORT))
            assert isinstance(caught.value.__cause__, PatienceError)
            assert len(server.asked) == attempts

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
        await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(60)

    async def body() -> None:
        async with served(deaf) as server, calling(server) as caller:
            content = bytes(32 * 1024 * 1024)
            request = Request("PUT", "key", "it", SHORT, body=content)
            with pytest.raises(UnavailableError) as caught:
                await caller.client.call(request)
            assert isinstance(caught.value.__cause__, PatienceError)
            # It was never all in memory on its way.
            assert "bytes in 0.2 s" in str(caught.value.__cause__)

    asyncio.run(body())


def test_an_answer_may_be_waited_for_longer_than_a_body_may_pause() -> None:
    async def late(exchange: Exchange) -> None:
        await asyncio.sleep(0.3)
        await WHOLE(exchange)

    async def body() -> None:
        async with served(late) as server, calling(server) as caller:
            patience = Patience(30, progress_seconds=0.1, progress_bytes=1024)
            reply = await caller.client.call(Request("GET", "key", "it", patience))
            assert reply.body == BODY
            assert len(server.asked) == 1

    asyncio.run(body())


def test_an_answer_may_be_waited_for_shorter_than_a_body_may_pause() -> None:
    async def body() -> None:
        async with served(silence) as server, calling(server, budget=NoRetries()) as caller:
            with pytest.raises(UnavailableError):
                await caller.client.call(Request("GET", "key", "it", Patience(0.1)))

    asyncio.run(body())


def test_a_slow_disk_is_no_fault_of_the_network() -> None:
    class Slow(Memory):
        async def write(self, data: bytes) -> bool:
            await asyncio.sleep(0.3)
            return await super().write(data)

    async def body() -> None:
        large = bytes(4 * 1024 * 1024)
        async with served(answer(large)) as server, calling(server) as caller:
            memory = Slow(None, checks=False)
            patience = Patience(30, progress_seconds=0.1, progress_bytes=64 * 1024 * 1024)
            await caller.client.call(Request("GET", "key", "it", patience), memory)
            assert memory.content == large
            assert len(server.asked) == 1

    asyncio.run(body())
