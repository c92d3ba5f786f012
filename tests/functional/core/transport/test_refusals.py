"""Each refusal becomes what it means, in S3's own words."""

from __future__ import annotations

import asyncio

import pytest
from tests.functional.core.transport.scripted import (
    Step,
    answer,
    calling,
    refusal,
    served,
)

from parallelize_core.errors import (
    AccessError,
    ArchivedError,
    ChangedError,
    MissingError,
    ParallelizeError,
    RefusedError,
    ThrottledError,
    UnavailableError,
    UsageError,
)
from parallelize_core.store import IF_ABSENT, Condition
from parallelize_core.transport.retries import ATTEMPTS, CONFLICT_ATTEMPTS

DONE = answer(b"body", etag='"etag"')

MEANINGS: list[tuple[Step, type[ParallelizeError]]] = [
    (refusal("SlowDown", 503), ThrottledError),
    (answer(b"", 429), ThrottledError),
    (refusal("AccessDenied", 403), RefusedError),
    (refusal("InvalidAccessKeyId", 403), AccessError),
    (refusal("SignatureDoesNotMatch", 403), AccessError),
    (refusal("PermanentRedirect", 301), UsageError),
    (refusal("InvalidObjectState", 403), ArchivedError),
    (refusal("NoSuchKey", 404), MissingError),
    (refusal("NoSuchBucket", 404), UsageError),
    (refusal("PreconditionFailed", 412), ChangedError),
    (refusal("KMS.DisabledException", 400), RefusedError),
    (refusal("NotImplemented", 501), RefusedError),
    (answer(b"<html>no", 403), RefusedError),
]


@pytest.mark.parametrize(("step", "meaning"), MEANINGS)
def test_a_refusal_becomes_what_it_means(step: Step, meaning: type[ParallelizeError]) -> None:
    async def body() -> None:
        async with served(step) as server, calling(server) as caller:
            with pytest.raises(ParallelizeError) as caught:
                await caller.store().get_within("key", 10, "etag")
            assert type(caught.value) is meaning
            assert caught.value.__cause__ is not None

    asyncio.run(body())


def test_s3s_own_words_are_in_a_refusal() -> None:
    async def body() -> None:
        step = refusal("AccessDenied", 403, "not authorized to perform: s3:GetObject &amp; more")
        async with served(step) as server, calling(server) as caller:
            with pytest.raises(RefusedError, match=r"not authorized .* s3:GetObject & more"):
                await caller.store().get("key")

    asyncio.run(body())


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "OperationAborted"])
def test_a_write_that_meets_another_is_tried_again_until_the_answer_is_known(code: str) -> None:
    async def body() -> None:
        conflict, unmet = refusal(code, 409), refusal("PreconditionFailed", 412)
        async with served(*[conflict] * (ATTEMPTS + 1), unmet) as server, calling(server) as caller:
            assert await caller.store().put("key", b"body", IF_ABSENT) is None
            assert len(server.asked) == ATTEMPTS + 2

    asyncio.run(body())


def test_a_write_that_meets_others_all_the_time_may_pass() -> None:
    async def body() -> None:
        conflict = refusal("ConditionalRequestConflict", 409)
        async with served(conflict) as server, calling(server) as caller:
            with pytest.raises(UnavailableError):
                await caller.store().put("key", b"body", IF_ABSENT)
            assert len(server.asked) == CONFLICT_ATTEMPTS

    asyncio.run(body())


@pytest.mark.parametrize(
    ("step", "condition"),
    [
        (refusal("PreconditionFailed", 412), IF_ABSENT),
        (refusal("PreconditionFailed", 412), Condition(etag="abc")),
        (refusal("NoSuchKey", 404), Condition(etag="abc")),
    ],
)
def test_a_condition_that_does_not_hold_is_an_answer(step: Step, condition: Condition) -> None:
    async def body() -> None:
        async with served(step) as server, calling(server) as caller:
            assert await caller.store().put("key", b"body", condition) is None

    asyncio.run(body())


def test_a_write_without_an_etag_in_its_answer_may_pass() -> None:
    async def body() -> None:
        async with served(answer(b"")) as server, calling(server) as caller:
            with pytest.raises(UnavailableError, match="is incomplete"):
                await caller.store().put("key", b"body")

    asyncio.run(body())
