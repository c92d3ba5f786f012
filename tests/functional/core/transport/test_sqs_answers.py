"""What SQS says that no emulator does: batches of which only a part succeeds, odd answers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.functional.core.transport.scripted import (
    Step,
    answer,
    calling,
    served,
    targets,
)

from parallelize_core.errors import (
    MissingError,
    ThrottledError,
    UnavailableError,
)

LOST = {"SenderFault": True, "Code": "ReceiptHandleIsInvalid", "Message": "expired"}
BUSY = {"SenderFault": False, "Code": "InternalError", "Message": "try again"}


def batch(**failed: dict[str, Any]) -> Step:
    failures = [{"Id": id_, **why} for id_, why in failed.items()]
    return answer(json.dumps({"Successful": [], "Failed": failures}).encode())


def sent(asked: Any, name: str) -> list[str]:
    return [entry[name] for entry in json.loads(asked.body)["Entries"]]


def test_only_the_messages_that_were_not_taken_are_sent_again() -> None:
    async def body() -> None:
        steps = batch(**{"1": BUSY, "3": BUSY}), batch(**{"0": BUSY}), batch()
        async with served(*steps) as server, calling(server, "sqs") as caller:
            await caller.queue().send(["a", "b", "c", "d"])
            bodies = [sent(one, "MessageBody") for one in server.asked]
            assert bodies == [["a", "b", "c", "d"], ["b", "d"], ["b"]]

    asyncio.run(body())


def test_only_the_messages_that_may_still_be_there_are_deleted_again() -> None:
    async def body() -> None:
        steps = batch(**{"0": LOST, "2": BUSY}), batch()
        async with served(*steps) as server, calling(server, "sqs") as caller:
            await caller.queue().delete(["a", "b", "c"])
            assert [sent(one, "ReceiptHandle") for one in server.asked] == [["a", "b", "c"], ["c"]]

    asyncio.run(body())


@pytest.mark.parametrize(
    "code",
    [
        "ReceiptHandleIsInvalid",
        "InvalidParameterValue",
        "MessageNotInflight",
        "AWS.SimpleQueueService.MessageNotInflight",
        "InvalidParameterValueException",
    ],
)
def test_a_lost_lease_is_answered_by_its_receipt(code: str) -> None:
    async def body() -> None:
        step = batch(**{"1": {**LOST, "Code": code}})
        async with served(step) as server, calling(server, "sqs") as caller:
            assert await caller.queue().extend(["a", "b", "c"], 120) == ["b"]

    asyncio.run(body())


def test_a_renewal_that_may_succeed_later_is_no_lost_lease() -> None:
    async def body() -> None:
        step = batch(**{"0": LOST, "1": BUSY})
        async with served(step) as server, calling(server, "sqs") as caller:
            with pytest.raises(UnavailableError, match="1 messages"):
                await caller.queue().extend(["a", "b"], 120)

    asyncio.run(body())


@pytest.mark.parametrize(
    "step", [answer(b""), answer(b"{}"), answer(b"[]"), answer(b"no JSON"), answer(b"\xff{")]
)
def test_an_answer_of_sqs_that_says_nothing_may_pass(step: Step) -> None:
    async def body() -> None:
        async with served(step) as server, calling(server, "sqs") as caller:
            queue = caller.queue()
            with pytest.raises(UnavailableError):
                await queue.counts()
            with pytest.raises(UnavailableError):
                await queue.delete(["a"])

    asyncio.run(body())


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "gone"}', {}),
        (
            b'{"__type": "com.amazonaws.sqs#QueueDoesNotExist"}',
            {"x_amzn_query_error": "AWS.SimpleQueueService.NonExistentQueue;Sender"},
        ),
        (
            b"<Error><Code>AWS.SimpleQueueService.NonExistentQueue</Code></Error>",
            {},
        ),
    ],
)
def test_a_queue_that_does_not_exist_is_missing(body: bytes, headers: dict[str, str]) -> None:
    async def ask() -> None:
        async with served(answer(body, 400, **headers)) as server, calling(server, "sqs") as caller:
            with pytest.raises(MissingError, match="queue"):
                await caller.queue().receive(1, 0, 30)
            assert targets(server.asked) == ["POST /"]

    asyncio.run(ask())


@pytest.mark.parametrize("code", ["RequestThrottled", "ThrottlingException", "OverLimit"])
def test_a_queue_that_is_asked_too_often_says_so(code: str) -> None:
    async def body() -> None:
        said = json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": "slow down"})
        step = answer(said.encode(), 403)
        async with served(step) as server, calling(server, "sqs") as caller:
            with pytest.raises(ThrottledError):
                await caller.queue().receive(1, 0, 30)

    asyncio.run(body())
