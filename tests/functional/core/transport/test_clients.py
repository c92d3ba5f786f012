"""Clients as the agent makes them: what is rare goes by boto3, what cannot be used is named."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from botocore.session import Session, get_session
from tests.functional.core.loop_thread import LoopThread
from tests.functional.core.transport.scripted import (
    Exchange,
    Step,
    a_session,
    answer,
    calling,
    refusal,
    served,
    targets,
)

from parallelize_core.async_clients import AsyncClients
from parallelize_core.boto_store import S3Store
from parallelize_core.clients import RequestCounts
from parallelize_core.errors import (
    ParallelizeError,
    RefusedError,
    UnavailableError,
    UsageError,
)


async def using(
    monkeypatch: pytest.MonkeyPatch,
    step: Step,
    use: Callable[[AsyncClients], Awaitable[Any]],
    session: Session | None = None,
) -> list[str]:
    async with served(step) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        clients = AsyncClients.of_session(session or a_session())
        try:
            await use(clients)
        finally:
            await clients.aclose()
        return targets(server.asked)


def test_calls_of_both_kinds_are_counted_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = RequestCounts()

    async def use(clients: AsyncClients) -> None:
        assert await clients.store("bucket").get("a") == b"body"
        # This one goes by botocore, in a thread.
        await asyncio.to_thread(clients.boto_store("bucket").head, "a")

    async def body() -> None:
        async with served(answer(b"body", etag='"etag"')) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
            clients = AsyncClients.of_session(a_session(), counts=counts)
            await use(clients)
            await clients.aclose()

    asyncio.run(body())
    # Nor is counted what is only drawn up, to learn where a bucket is.
    assert (counts.s3_reads, counts.s3_writes, counts.sqs) == (2, 0, 0)


async def many_deleted(clients: AsyncClients) -> None:
    await clients.store("bucket").delete([str(number) for number in range(10)])


async def listed(clients: AsyncClients) -> list[str]:
    return [info.key async for info in clients.store("bucket").list("folder/")]


def test_a_bucket_in_another_region_is_followed_by_botocores_own_map(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scopes: list[str] = []

    async def step(exchange: Exchange) -> None:
        scopes.append(exchange.asked.headers["authorization"].split("/")[2])
        here = scopes[-1] == "eu-west-3"
        await (answer(b"body") if here else answer(b"", 301, x_amz_bucket_region="eu-west-3"))(
            exchange
        )

    async def use(clients: AsyncClients) -> None:
        assert await clients.store("bucket").get("a") == b"body"
        assert await clients.store("bucket").get("b") == b"body"

    asyncio.run(using(monkeypatch, step, use))
    assert scopes == ["eu-west-1", "eu-west-3", "eu-west-3"]


def test_what_is_rare_is_refused_in_the_words_of_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RefusedError, match="s3://bucket"):
        asyncio.run(using(monkeypatch, refusal("AccessDenied", 403, "no"), many_deleted))


@pytest.mark.parametrize(
    "step", [answer(b"", 503), answer(b"<html>", 200), answer(b"x" * 100, cut=80)]
)
def test_what_is_rare_fails_as_the_tree_has_it(monkeypatch: pytest.MonkeyPatch, step: Step) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(UnavailableError):
        asyncio.run(using(monkeypatch, step, many_deleted))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        b"<IsTruncated>false</IsTruncated><Contents><Key>folder/a</Key><Size>1</Size></Contents>",
        b"<IsTruncated>false</IsTruncated><Contents><Key>folder/a</Key><Size>1<ETag>e</ETag>",
    ],
)
def test_a_listing_that_breaks_off_is_no_listing(
    monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    with pytest.raises(UnavailableError, match="is incomplete"):
        asyncio.run(using(monkeypatch, answer(body), listed))


@pytest.mark.parametrize("bucket", ["UP/per", "bucket--use1-az4--x-s3", "arn:aws:s3::1:x/y"])
def test_a_bucket_that_cannot_be_used_is_an_error_of_the_caller(
    monkeypatch: pytest.MonkeyPatch, bucket: str
) -> None:
    with pytest.raises(UsageError):
        asyncio.run(using(monkeypatch, answer(), lambda clients: clients.store(bucket).get("key")))


def test_a_missing_region_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    session = get_session()
    session.set_credentials("AKIDEXAMPLE", "secret")
    with pytest.raises(UsageError, match="region"):
        asyncio.run(
            using(
                monkeypatch,
                answer(),
                lambda clients: clients.queue("https://sqs/1/q").receive(1, 0, 30),
                session,
            )
        )


def test_nothing_answers_where_the_endpoint_points(monkeypatch: pytest.MonkeyPatch) -> None:
    async def use() -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        clients = AsyncClients.of_session(a_session())
        try:
            await clients.store("bucket").get("key")
        finally:
            await clients.aclose()

    with pytest.raises(ParallelizeError, match="cannot be reached"):
        asyncio.run(use())


def test_many_calls_at_once_each_get_their_own_answer() -> None:
    async def step(exchange: Exchange) -> None:
        await asyncio.sleep(0)
        await answer(exchange.asked.target.encode())(exchange)

    async def body() -> None:
        async with served(step) as server, calling(server) as caller:
            store = caller.store()
            keys = [str(number) for number in range(400)]
            bodies = await asyncio.gather(*[store.get(key) for key in keys])
            assert [body.decode() for body in bodies] == [f"/bucket/{key}" for key in keys]

    asyncio.run(body())


def test_many_keys_are_deleted_in_one_call(
    async_clients: AsyncClients, s3_store: S3Store, loop_thread: LoopThread
) -> None:
    keys = [f"key {number}" for number in range(20)]
    for key in keys:
        s3_store.put(key, b"")
    loop_thread.run(async_clients.store(s3_store.bucket).delete(keys))
    assert list(s3_store.list("")) == []
