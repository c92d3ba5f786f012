"""Large objects of which size and content are known: in parts from the start, hashed on the way."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import pytest
from tests.functional.core.transport.scripted import (
    Exchange,
    answer,
    calling,
    served,
)

from parallelize_core.errors import ChangedError, UnavailableError
from parallelize_core.parts import PART_BYTES, parts_of
from parallelize_core.store import AsyncStore

LARGE = os.urandom(1024) * (PART_BYTES // 1024 * 3 + 1)
SHA256 = hashlib.sha256(LARGE).hexdigest()


async def part(exchange: Exchange, total: int = len(LARGE)) -> None:
    """Answer a request for a part of version "etag", and no other."""
    assert exchange.asked.headers["if-match"] == '"etag"'
    first, last = map(int, exchange.asked.headers["range"].removeprefix("bytes=").split("-"))
    said = {"content-range": f"bytes {first}-{last}/{total}", "etag": '"etag"'}
    await answer(LARGE[first : last + 1], 206, **said)(exchange)


async def fetch(store: AsyncStore, path: Path, sha256: str = SHA256) -> int:
    return await store.get_file("key", path, "etag", len(LARGE), sha256)


def test_every_part_is_asked_for_once_and_no_connection_is_lost(tmp_path: Path) -> None:
    """To ask for the whole object first, and to hang up after its first part, wastes both."""

    async def body() -> None:
        async with served(part) as server, calling(server) as caller:
            assert await fetch(caller.store(), tmp_path / "file") == len(LARGE)
            connections = server.connections
            await fetch(caller.store(), tmp_path / "again")
            assert server.connections == connections
        asked = [ask.headers["range"] for ask in server.asked]
        assert len(asked) == 2 * len(set(asked)) == 2 * len(parts_of(len(LARGE)))

    asyncio.run(body())
    assert (tmp_path / "file").read_bytes() == (tmp_path / "again").read_bytes() == LARGE


def test_parts_are_hashed_in_order_however_they_arrive(tmp_path: Path) -> None:
    async def body() -> None:
        others = asyncio.Event()
        done = 0

        async def first_part_last(exchange: Exchange) -> None:
            nonlocal done
            if exchange.asked.headers["range"].startswith("bytes=0-"):
                await others.wait()
            await part(exchange)
            done += 1
            if done == len(parts_of(len(LARGE))) - 1:
                others.set()

        async with served(first_part_last) as server, calling(server) as caller:
            assert await fetch(caller.store(), tmp_path / "file") == len(LARGE)

    asyncio.run(body())
    assert (tmp_path / "file").read_bytes() == LARGE


@pytest.mark.parametrize("size", [len(LARGE), 0])
def test_other_content_leaves_no_file(tmp_path: Path, size: int) -> None:
    """Whether or not the size is known."""
    step = part if size else answer(LARGE[:1000], etag='"etag"')

    async def body() -> None:
        async with served(step) as server, calling(server) as caller:
            fetching = caller.store().get_file("key", tmp_path / "file", "etag", size, "0" * 64)
            with pytest.raises(ChangedError, match="s3://bucket/key has the wrong content"):
                await fetching

    asyncio.run(body())
    assert not (tmp_path / "file").exists()


def test_a_small_object_is_hashed_too(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(answer(b"body")) as server, calling(server) as caller:
            sha256 = hashlib.sha256(b"body").hexdigest()
            assert await caller.store().get_file("key", tmp_path / "file", "", 4, sha256) == 4

    asyncio.run(body())


def test_an_object_of_another_size_is_not_taken_for_its_first_bytes(tmp_path: Path) -> None:
    async def longer(exchange: Exchange) -> None:
        await part(exchange, len(LARGE) + 1)

    async def body() -> None:
        async with served(longer) as server, calling(server) as caller:
            with pytest.raises(UnavailableError, match="other bytes"):
                await fetch(caller.store(), tmp_path / "file", "")

    asyncio.run(body())
    assert not (tmp_path / "file").exists()


def test_a_cancelled_download_leaves_no_file_and_no_descriptor(tmp_path: Path) -> None:
    async def body() -> None:
        begun = asyncio.Event()

        async def all_but_the_last(exchange: Exchange) -> None:
            if exchange.asked.headers["range"].endswith(f"-{len(LARGE) - 1}"):
                begun.set()
                await exchange.reader.read()
            else:
                await part(exchange)

        async with served(all_but_the_last) as server, calling(server) as caller:
            fetching = asyncio.create_task(fetch(caller.store(), tmp_path / "file"))
            await begun.wait()
            fetching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await fetching

    asyncio.run(body())
    assert not (tmp_path / "file").exists()
    assert not [link for link in Path("/proc/self/fd").iterdir() if _leads_below(link, tmp_path)]


def _leads_below(link: Path, folder: Path) -> bool:
    try:
        return str(link.readlink()).startswith(str(folder))
    except FileNotFoundError:  # the descriptor with which the folder is read
        return False
